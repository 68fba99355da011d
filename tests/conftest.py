"""Fixtures of all tests; the servers themselves are in `tests.servers`."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from pytest_django.plugin import DjangoDbBlocker

STAY = {"django_migrations", "django_content_type", "auth_permission"}
"""What migrating leaves, and nothing else, stands in these tables."""


@pytest.fixture
def free_port() -> Callable[[], int]:
    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    return find


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: DjangoDbBlocker) -> None:
    """A database of this process: a copy of one that the first process migrates. All go with their server."""
    from django.core.management import call_command
    from django.db import connection
    from django.test import TransactionTestCase

    TransactionTestCase._fixture_teardown = _empty  # type: ignore[attr-defined]
    done = Path(os.environ["LONGHAND_TESTS"]) / "migrated"
    with django_db_blocker.unblock(), done.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            _create("migrated", "template1")
            connection.settings_dict["NAME"] = "migrated"
            call_command("migrate", verbosity=0)
            connection.close()
            connection.close_pool()  # type: ignore[attr-defined,unused-ignore]
            done.touch()
        name = f"test_{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
        _create(name, "migrated")
        connection.settings_dict["NAME"] = name


def _create(name: str, template: str) -> None:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())


def _empty(_: object) -> None:
    """As Django's flush, which truncates all tables and fills those of STAY anew; here rows go where there are any: a tenth of the time."""
    from django.db import connection, transaction

    with transaction.atomic(), connection.cursor() as cursor:
        found = connection.introspection.django_table_names(only_existing=True, include_views=False)
        tables = sorted(set(found) - STAY)
        cursor.execute(" UNION ALL ".join(f"SELECT '{table}' WHERE EXISTS (SELECT FROM {table})" for table in tables))
        full = [table for (table,) in cursor.fetchall()]
        # Neither the triggers that keep rows, nor the order of the tables matter.
        cursor.execute("SET LOCAL session_replication_role = replica")
        for table in full:
            cursor.execute(f"DELETE FROM {table}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long fault runs are asked for by name: `make soak`."""
    if "soak" in (config.getoption("markexpr") or ""):
        return
    skipped = pytest.mark.skip(reason="long: `make soak` runs it")
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(skipped)
