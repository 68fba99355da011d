"""The keeper of the studio's jobs: the periodic work of a GPU worker.

runs         starts a follower for each run of this machine that has none, and for queued runs as GPUs become free; and this machine's part
             of runs that other machines lead
plans        plans drafts, one at a time
reports      sends evaluations whose versions are loaded to a worker
arenas       makes pairs of finished stories, and counts votes
imports      checks and imports waiting folders
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import redis
import structlog
from celery import current_app
from kombu.exceptions import OperationalError

from workers import machine
from workers.folders import private, run_folder
from workers.jobs import arenas, evaluate, imports
from workers.jobs.runs import claim, planning
from workers.jobs.runs.node import node_folder
from workers.jobs.runs.only_one import is_held
from workers.periodic import Periodic
from workers.processes import ROOT, site_socket
from writer.studio.models import Machine
from writer.studio.wake import QUEUE

LOOK = 3.0
MEASURE = 60.0
CLEAR = 3600.0
EVALUATE = "workers.jobs.tasks.evaluate_version"

log = structlog.get_logger()


class Keeper(Periodic):
    def __init__(self) -> None:
        super().__init__("keeper", LOOK)
        self._followers: dict[int, tuple[subprocess.Popen[bytes], float]] = {}
        self._parts: dict[int, subprocess.Popen[bytes]] = {}
        self._machine: Machine | None = None
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="background")
        self._background: dict[str, Future[None]] = {}
        self._done: dict[str, float] = {}

    def look(self) -> None:
        for work in (self._heartbeat, self._runs, self._plans, self._reports, arenas.advance, self._clear):
            self.attempt(work)

    def stop(self) -> None:
        super().stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _due(self, what: str, seconds: float) -> bool:
        now = time.monotonic()
        if now - self._done.get(what, float("-inf")) < seconds:
            return False
        self._done[what] = now
        return True

    # Runs

    def _heartbeat(self) -> None:
        if self._machine is None:
            self._machine = machine.register()
        machine.heartbeat(self._machine, measure=self._due("measure", MEASURE))

    def _runs(self) -> None:
        if self._machine is None:
            return
        self._followers = {run: one for run, one in self._followers.items() if one[0].poll() is None}
        claim.release_leaderless()
        for run_id in claim.unfollowed(self._machine):
            self._replace(run_id)
        self._parts = {run: one for run, one in self._parts.items() if one.poll() is None}
        for run_id in claim.taking_part(self._machine):
            folder = node_folder(run_id, self._machine.name)
            if run_id not in self._parts and not is_held(folder):
                self._parts[run_id] = self._start(run_id, folder, "--node")
        while (run := claim.claim(self._machine)) is not None:
            self._follow(run.pk)

    def _replace(self, run_id: int) -> None:
        """Start another follower for a run whose lease has expired, unless one was started a moment ago."""
        began = self._followers[run_id][1] if run_id in self._followers else float("-inf")
        if time.monotonic() - began >= claim.LEASE.total_seconds():
            self._follow(run_id)

    def _follow(self, run_id: int) -> None:
        self._followers[run_id] = self._start(run_id, run_folder(run_id)), time.monotonic()

    def _start(self, run_id: int, folder: Path, *options: str) -> subprocess.Popen[bytes]:
        """Start a follower in its own session, which no signal to this worker reaches."""
        inherited = site_socket()
        with (private(folder) / "follower.log").open("ab") as output:
            follower = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), "follow_run", str(run_id), *options],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[inherited] if inherited >= 0 else [],
            )
        log.info("follower_started", run=run_id, options=options)
        return follower

    # The rest

    def _in_background(self, work: Callable[[], None]) -> None:
        """Run work that takes minutes (counting a large data set, copying a model) in a thread, one of each kind at a time."""
        before = self._background.get(work.__name__)
        if before is None or before.done():
            self._background[work.__name__] = self._pool.submit(self.attempt, work)

    def _plans(self) -> None:
        self._in_background(_plan)

    def _reports(self) -> None:
        for evaluation in evaluate.due():
            evaluate.mark_sent(evaluation)
            with contextlib.suppress(OperationalError, redis.RedisError):
                current_app.send_task(EVALUATE, [evaluation], queue=QUEUE, retry=False)

    def _clear(self) -> None:
        self._in_background(imports.import_waiting)
        if self._due("clear", CLEAR):
            imports.clear_retired()
            imports.clear_old_runs()
            planning.clear_old_drafts()


def _plan() -> None:
    for run_id in planning.waiting():
        planning.make(run_id)
