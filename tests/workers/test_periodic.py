"""Threads that check for work: an error in one part does not prevent the others, and they stop on request."""

from __future__ import annotations

from queue import Queue

from django.db import OperationalError

from workers import periodic
from workers.periodic import Periodic


class Looker(Periodic):
    def __init__(self) -> None:
        super().__init__("a looker", 3600)
        self.done: Queue[str] = Queue()

    def look(self) -> None:
        for work in (self._without_database, self._mistake, self._work):
            self.attempt(work)
        raise ValueError("a mistake of the look itself")

    def _without_database(self) -> None:
        raise OperationalError("the database is away")

    def _mistake(self) -> None:
        raise ValueError("a mistake")

    def _work(self) -> None:
        self.done.put("worked")


def test_it_looks_when_it_is_woken_until_it_is_stopped(db: None) -> None:
    looker = Looker()
    periodic.start(looker)
    try:
        assert looker.done.get(timeout=10) == "worked"
        periodic.wake_all()
        assert looker.done.get(timeout=10) == "worked"
    finally:
        periodic.stop_all()
        periodic._started.remove(looker)
    looker.join(10)
    assert not looker.is_alive()
    looker.attempt(looker._work)
    assert looker.done.empty(), "nothing is begun any more"
