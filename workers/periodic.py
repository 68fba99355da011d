"""Threads of a worker that check for work every few seconds, and whenever they are woken.

They keep no important state, so they may die with their process at any moment; and they need no messages, so Redis may be down.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import structlog
from django.db import DatabaseError, InterfaceError, connection

log = structlog.get_logger()


class Periodic(threading.Thread):
    """`look` is called every `seconds`, until `stop`."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(name=name, daemon=True)
        self._seconds = seconds
        self._wake = threading.Event()
        self._stopping = threading.Event()

    def look(self) -> None:
        raise NotImplementedError

    def run(self) -> None:
        while not self._stopping.is_set():
            self.attempt(self.look)
            self._wake.wait(self._seconds)
            self._wake.clear()

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()

    def attempt(self, work: Callable[[], None]) -> None:
        """Run a part of `look`. An error is logged, and does not prevent the other parts."""
        if self._stopping.is_set():
            return
        try:
            work()
        except (DatabaseError, InterfaceError) as error:
            log.warning("keeper_without_database", work=work.__qualname__, error=str(error).split("\n", 1)[0])
            with contextlib.suppress(DatabaseError, InterfaceError):
                connection.close()
        except Exception:
            log.exception("keeper_failed", work=work.__qualname__)


_started: list[Periodic] = []


def start(*threads: Periodic) -> None:
    for thread in threads:
        thread.start()
    _started.extend(threads)


def wake_all() -> None:
    for thread in _started:
        thread.wake()


def stop_all() -> None:
    for thread in _started:
        thread.stop()
