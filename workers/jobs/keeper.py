"""The studio's clock: what a GPU worker does beside its tasks, every few seconds and whenever it is called.

    runs         a follower for each run of this machine that has none; then what is queued, as far as GPUs are free
    plans        drafts are planned, one at a time
    reports      evaluations whose versions are loaded are sent to a worker
    arenas       finished stories become pairs, votes are counted
    imports      folders that wait are checked and taken in

It is a thread of the Celery worker. Nothing is kept in it, so it may die at any moment; and it needs no message to arrive, so that
Redis may be away.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import redis
import structlog
from celery import current_app
from django.db import DatabaseError, InterfaceError, connection
from kombu.exceptions import OperationalError

from workers.jobs import arenas, evaluate, imports
from workers.jobs.runs import claim, machine, planning
from workers.jobs.runs.folders import private, run_folder
from workers.jobs.runs.processes import life
from workers.serving.keeper import ServingKeeper
from writer.studio.models import Machine
from writer.studio.wake import QUEUE

LOOK = 3.0
MEASURE = 60.0
CLEAR = 3600.0
EVALUATE = "workers.jobs.tasks.evaluate_version"

log = structlog.get_logger()


class Keeper(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="keeper", daemon=True)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._followers: dict[int, tuple[subprocess.Popen[bytes], float]] = {}
        self._machine: Machine | None = None
        self._serving: ServingKeeper | None = None
        self._aside = ThreadPoolExecutor(2, thread_name_prefix="aside")
        self._asides: dict[str, Future[None]] = {}
        self._done: dict[str, float] = {}

    def run(self) -> None:
        while not self._stopping.is_set():
            for work in (self._hello, self._runs, self._plans, self._reports, arenas.advance, self._clear):
                self._try(work)
            self._wake.wait(LOOK)
            self._wake.clear()

    def wake(self) -> None:
        self._wake.set()
        if self._serving is not None:
            self._serving.wake.set()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()
        self._aside.shutdown(wait=False, cancel_futures=True)
        if self._serving is not None:
            self._serving.stop()

    def _try(self, work: Callable[[], None]) -> None:
        """One part that fails does not keep the others from their work."""
        if self._stopping.is_set():
            return
        try:
            work()
        except (DatabaseError, InterfaceError) as error:
            log.warning("keeper_without_database", work=work.__name__, error=str(error).split("\n", 1)[0])
            with contextlib.suppress(DatabaseError, InterfaceError):
                connection.close()
        except Exception:
            log.exception("keeper_failed", work=work.__name__)

    def _due(self, what: str, seconds: float) -> bool:
        now = time.monotonic()
        if now - self._done.get(what, float("-inf")) < seconds:
            return False
        self._done[what] = now
        return True

    # Runs

    def _hello(self) -> None:
        if self._machine is None:
            self._machine = machine.register()
            self._serving = ServingKeeper(self._machine)
            self._serving.start()
        machine.say_hello(self._machine, measure=self._due("measure", MEASURE))

    def _runs(self) -> None:
        if self._machine is None:
            return
        self._followers = {run: one for run, one in self._followers.items() if one[0].poll() is None}
        for run_id in claim.unfollowed(self._machine):
            self._replace(run_id)
        while (run := claim.claim(self._machine)) is not None:
            self._follow(run.pk)

    def _replace(self, run_id: int) -> None:
        """One that gives no sign of life. It was given the time to begin."""
        began = self._followers[run_id][1] if run_id in self._followers else float("-inf")
        if time.monotonic() - began >= claim.LEASE.total_seconds():
            self._follow(run_id)

    def _follow(self, run_id: int) -> None:
        """A process of its own session, which no signal to this worker reaches."""
        inherited = life()
        with (private(run_folder(run_id)) / "follower.log").open("ab") as output:
            follower = subprocess.Popen(
                [sys.executable, "-m", "workers.jobs.runs.follow", str(run_id)],
                cwd=Path(__file__).resolve().parents[2],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[inherited] if inherited >= 0 else [],
            )
        self._followers[run_id] = follower, time.monotonic()
        log.info("follower_started", run=run_id)

    # The rest

    def _beside(self, work: Callable[[], None]) -> None:
        """What takes minutes (counting a large data set, copying a model) does not keep runs waiting. One of each kind at a time."""
        before = self._asides.get(work.__name__)
        if before is None or before.done():
            self._asides[work.__name__] = self._aside.submit(self._try, work)

    def _plans(self) -> None:
        self._beside(_plan)

    def _reports(self) -> None:
        for evaluation in evaluate.due():
            evaluate.mark_sent(evaluation)
            with contextlib.suppress(OperationalError, redis.RedisError):
                current_app.send_task(EVALUATE, [evaluation], queue=QUEUE, retry=False)

    def _clear(self) -> None:
        self._beside(imports.take_in)
        if self._due("clear", CLEAR):
            imports.clear_retired()
            imports.clear_old_runs()
            planning.clear_old_drafts()


def _plan() -> None:
    for run_id in planning.waiting():
        planning.make(run_id)
