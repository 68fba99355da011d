"""Runs one training or stage until it ends, and copies its events into the database (`manage.py follow_run RUN`).

    lock the run's folder  ->  find the training, or start it  ->  { copy events, renew the lease, forward stop requests }  ->  end the run

All writes are fenced (`workers.lease`). The outcome is read from the run's folder, since the training may be the child of another
process: either a model is there, or the last event says that it failed and why. Otherwise it died; it is then restarted and resumes
from its last complete checkpoint.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from training.common.errors import EXIT_MENDABLE, MendableError, disk_errors_explained
from workers import processes
from workers.folders import private, run_folder
from workers.jobs.runs import command, rewards, stages
from workers.jobs.runs.claim import take_over
from workers.jobs.runs.events import last_end, last_lines, new_events, store
from workers.jobs.runs.material import prepare
from workers.jobs.runs.only_one import only_one
from workers.jobs.runs.results import end, outcome, register
from workers.lease import Lease, Lost, expired
from workers.processes import ask_to_stop, kill, processes_of, site_is_gone
from writer.studio.models import Run, RunState
from writer.studio.registry import DECLARED, is_stage

T = TypeVar("T")

POLL_SECONDS, RENEW_SECONDS = 0.25, 3.0
"""Seconds between two reads of the events, and between two renewals of the lease."""
MAX_CRASHES = 3
DATABASE_PATIENCE = 300.0
"""Seconds that a training continues while the database is unreachable; then it saves and stops."""

log = structlog.get_logger()


class Follower:
    """Follows one run, in its own process. On SIGTERM the run is saved and queued again."""

    def __init__(self, run_id: int) -> None:
        self.run_id, self.folder = run_id, private(run_folder(run_id))
        self.events, self.output = self.folder / "events.jsonl", self.folder / "output.log"
        self.lease: Lease[Run]
        self.run: Run
        self._child: subprocess.Popen[bytes] | None = None
        self._shutting_down = self._stop_sent = False
        self._died_at = -1
        self._rows: set[int] = set()
        self._began = 0
        self._site_socket = processes.site_socket()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._shut_down)

    def _shut_down(self, *_: object) -> None:
        self._shutting_down = True

    def follow(self) -> None:
        with only_one(self.folder, lambda: self._retry(self._is_late)):
            lease = take_over(self.run_id)
            if lease is None:
                return
            self.lease, self.run, self._began = lease, lease.row, lease.row.read_bytes
            try:
                self._run()
            except Lost:
                log.warning("follower_lost", run=self.run_id, attempt=lease.attempt)
                self._kill_if_ended()

    def _is_late(self) -> bool:
        return Run.objects.filter(expired(), pk=self.run_id).exists()

    def _run(self) -> None:
        beat = 0.0
        alive = bool(processes_of(self.folder))
        unwanted = self.run.wish or self._shutting_down
        if not alive and not unwanted and not outcome(self.run, self.folder).is_dir():
            self._start()
            alive = True
        checked = time.monotonic()
        while True:
            moved = self._copy_events()
            now = time.monotonic()
            if now - beat > RENEW_SECONDS:
                beat = now
                self._beat()
                self._forward_wishes()
                self._check_consents()
            if now - checked > 1.0:
                checked = now
                alive = bool(processes_of(self.folder))
            if not alive and not moved:
                if self._ended():
                    return
                alive = True
            time.sleep(POLL_SECONDS)

    def _copy_events(self) -> bool:
        """Store the new events. Returns whether there were any."""
        found, upto = new_events(self.events, self.run.read_bytes)
        if upto == self.run.read_bytes:
            return False
        self._retry(lambda: store(self.lease, found, upto))
        return True

    def _beat(self) -> None:
        self._retry(self.lease.renew)
        self._retry(lambda: self.run.refresh_from_db(fields=["wish", "failures"]))

    # Starting and stopping

    def _start(self) -> None:
        """Start the training. Raises Lost if it cannot be started, in which case the run has been ended."""
        settings = self._or_end("it was started", lambda: prepare(self.run))
        gpus = self._retry(lambda: list(self.run.gpus_held.order_by("index").values_list("index", "memory")))
        numbers = [index for index, memory in gpus] if any(memory for _, memory in gpus) else None
        self._began = self.events.stat().st_size if self.events.exists() else 0
        argv = command.command(self.run.recipe, settings, self.run.gpus if numbers else 1)
        environment = command.environment(self.folder, numbers)
        if DECLARED[self.run.recipe].has_group("teacher"):
            environment |= stages.key()
        if DECLARED[self.run.recipe].has_group("rewards"):
            environment |= rewards.keys()
        self._child = processes.start(argv, environment, self.folder)
        log.info("run_started", run=self.run_id, attempt=self.lease.attempt, pid=self._child.pid)

    def _forward_wishes(self) -> None:
        self._shutting_down = self._shutting_down or site_is_gone(self._site_socket)
        if self.run.wish == "kill":
            kill(self.folder)
        elif self.run.wish == "stop" or self._shutting_down:
            self._stop()

    def _stop(self) -> None:
        """Ask the training to save and stop, once."""
        if not self._stop_sent:
            self._stop_sent = True
            ask_to_stop(self.folder)

    def _check_consents(self) -> None:
        """Restart a stage without the texts whose writers have withdrawn consent. Questions already answered are not asked again."""
        if not is_stage(self.run.recipe):
            return
        self._rows = self._rows or stages.rows_there(self.run, self.folder / "data")
        if self._retry(lambda: stages.withdrawn(self.run, self._rows)):
            self._rows.clear()
            self._kill()
            if self.run.wish or self._shutting_down:
                return  # it ends now, and its data are written again when it is resumed
            log.info("stage_begins_again", run=self.run_id)
            self._start()

    def _kill(self) -> None:
        """Kill the training's processes, and wait until none is left: another training could not start beside them."""
        while not kill(self.folder):
            self._beat()

    # The end

    def _ended(self) -> bool:
        """Handle the end of the training's processes: end the run, or restart it. Returns False if it was restarted."""
        status = self._child.poll() if self._child else None
        self._kill()  # processes that a launcher left; they still use the GPUs
        self._beat()
        if outcome(self.run, self.folder).is_dir():
            self._or_end("its result was stored", lambda: register(self.run, self.lease.attempt, self.folder))
        elif self.run.wish:
            self._end(RunState.STOPPED, "")
        elif self._shutting_down:
            self._end(RunState.QUEUED, "")
        elif (problem := self._problem(status)) is not None:
            self._end(RunState.FAILED, problem.replace(f"{self.folder}/", ""))
        else:
            return not self._restarted()
        return True

    def _problem(self, status: int | None) -> str | None:
        """Why the training failed, if a restart would not help; None if it died. `status` is known only for a child of this process."""
        last = last_end(self.events, self._began)
        if last is not None and last.outcome == "failed":
            return last.reason
        if last is None and status == EXIT_MENDABLE:  # a mistake in the settings, before the first event
            return last_lines(self.output, 1, most=1000)
        return None

    def _restarted(self) -> bool:
        """Restart the training after a crash, unless it keeps crashing at the same step."""
        self.run.failures = self.run.failures + 1 if self.run.step == self._died_at else 1
        self._died_at = self.run.step
        self._retry(lambda: self.lease.write(failures=self.run.failures))
        if self.run.failures >= MAX_CRASHES:
            last = last_lines(self.output)
            self._end(
                RunState.FAILED, f"Its process died {MAX_CRASHES} times in a row after step {self.run.step}.\n\n{last}"
            )
            return False
        log.warning("run_died", run=self.run_id, step=self.run.step, deaths=self.run.failures)
        self._start()
        return True

    def _or_end(self, doing: str, work: Callable[[], T]) -> T:
        """Do some work for the run. If it fails, end the run with the reason, and raise Lost."""
        try:
            with disk_errors_explained(self.folder):
                return self._retry(work)
        except (MendableError, OSError, ValueError) as error:
            self._end(RunState.FAILED, str(error))
            raise Lost from error
        except Exception as error:  # a recipe of another package may raise anything
            log.exception("run_failed", run=self.run_id)
            self._end(RunState.FAILED, f"An unexpected error occurred while {doing}; see follower.log in its folder.")
            raise Lost from error

    def _end(self, state: RunState, problem: str) -> None:
        self._retry(lambda: end(self.run, self.lease.attempt, state, problem))
        log.info("run_ended", run=self.run_id, state=state, problem=problem)

    def _kill_if_ended(self) -> None:
        """Kill the processes of a run that was ended in the database, but not those of another follower."""
        state = self._retry(lambda: Run.objects.filter(pk=self.run_id).values_list("state", flat=True).first())
        if state != RunState.RUNNING:
            kill(self.folder)

    # While the database is unreachable

    def _retry(self, work: Callable[[], T]) -> T:
        """Retry until the database answers. If it is unreachable for too long, or the whole site is down, the training saves and stops."""
        unreachable_since = None
        while True:
            try:
                return work()
            except (OperationalError, InterfaceError) as error:
                with contextlib.suppress(DatabaseError, InterfaceError):
                    connection.close()
                gone, now = site_is_gone(self._site_socket), time.monotonic()
                unreachable_since = unreachable_since or now
                if (gone or now - unreachable_since > DATABASE_PATIENCE) and not self._stop_sent:
                    log.warning("stops_without_database", run=self.run_id, error=str(error))
                    self._shutting_down = True
                    self._stop()
                if gone and not processes_of(self.folder):
                    raise SystemExit(
                        f"Run {self.run_id} is saved, and resumes when the site is started again."
                    ) from None
                time.sleep(0.5)
