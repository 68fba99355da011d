"""What every test of this project may use; the servers themselves come from `tests.servers`."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest


@pytest.fixture
def free_port() -> Callable[[], int]:
    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    return find


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """The test database can be dropped only when the pool has let go of its connections."""
    yield
    from django.db import connections

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
