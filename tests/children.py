"""What `make test-fast` leaves out is marked: a test that starts processes says so (`pytest.mark.processes`), one with a browser or a model too.

A test that starts one and is not marked fails, here and in `make test`. The servers of `tests.servers` do not count, since they stand before any
test, nor do QUICK, which only answer (`uname` is asked by Python's own `platform`).
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}
QUICK = {"git", "nvidia-smi", "uname"}
MARKS = ("processes", "browser", "model")

_running: pytest.Item | None = None


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in STARTS or _running is None or any(map(_running.get_closest_marker, MARKS)):
        return
    if not arguments or Path(str(arguments[0])).name not in QUICK:
        pytest.fail(f"This test starts a process, and is not marked with pytest.mark.processes: {event} {arguments}")


def pytest_configure() -> None:
    sys.addaudithook(_hear)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    global _running
    _running = item
    try:
        return (yield)
    finally:
        _running = None
