"""What every test of this project may use; the servers themselves come from `tests.servers`."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from pytest_django.plugin import DjangoDbBlocker


@pytest.fixture
def free_port() -> Callable[[], int]:
    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    return find


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The test database can be dropped only when nobody holds a connection: neither the pool nor a thread that took one from it."""
    yield
    from django.db import connections

    with django_db_blocker.unblock(), connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid != pg_backend_pid()"
        )
    for connection in connections.all(initialized_only=True):
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined,unused-ignore]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long fault runs are asked for by name: `make soak`."""
    if "soak" in (config.getoption("markexpr") or ""):
        return
    skipped = pytest.mark.skip(reason="long: `make soak` runs it")
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(skipped)
