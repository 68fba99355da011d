"""Keeps one training, or stage, going until it ends, and copies what it reports into the database (`manage.py follow_run RUN`).

    lock the run's folder  ->  find the training, or start it  ->  { copy events, renew the lease, pass wishes on }  ->  end the run

All that it writes is fenced (`workers.lease`). How the training ended is read from the run's folder, since the training may be another
process' child: a model is there, or its last event says that it failed and why; else it died, and then it is started again and resumes
from its last whole checkpoint.
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

from training.common.errors import EXIT_MENDABLE, MendableError
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

LOOK, BEAT = 0.25, 3.0
"""Seconds between two looks at the events, and between two renewals of the lease."""
MOST_DEATHS = 3
DATABASE_PATIENCE = 300.0
"""So long a training runs on while the database cannot be reached; then it saves and stops until it can."""

log = structlog.get_logger()


class Follower:
    """Follows one run, in a process of its own; SIGTERM has the run saved and queued again."""

    def __init__(self, run_id: int) -> None:
        self.run_id, self.folder = run_id, private(run_folder(run_id))
        self.events, self.output = self.folder / "events.jsonl", self.folder / "output.log"
        self.lease: Lease[Run]
        self.run: Run
        self._child: subprocess.Popen[bytes] | None = None
        self._going_down = self._asked_to_stop = False
        self._died_at = -1
        self._rows: set[int] = set()
        self._began = 0
        self._life = processes.life()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._go_down)

    def _go_down(self, *_: object) -> None:
        self._going_down = True

    def follow(self) -> None:
        with only_one(self.folder, lambda: self._durably(self._is_late)):
            lease = take_over(self.run_id)
            if lease is None:
                return
            self.lease, self.run, self._began = lease, lease.row, lease.row.read_bytes
            try:
                self._keep_going()
            except Lost:
                log.warning("follower_lost", run=self.run_id, attempt=lease.attempt)
                self._leave_if_ended()

    def _is_late(self) -> bool:
        return Run.objects.filter(expired(), pk=self.run_id).exists()

    def _keep_going(self) -> None:
        beat = 0.0
        alive = bool(processes_of(self.folder))
        if not alive and not outcome(self.run, self.folder).is_dir():
            self._start()
            alive = True
        looked = time.monotonic()
        while True:
            moved = self._copy_events()
            now = time.monotonic()
            if now - beat > BEAT:
                beat = now
                self._beat()
                self._pass_wishes_on()
                self._heed_consents()
            if now - looked > 1.0:
                looked = now
                alive = bool(processes_of(self.folder))
            if not alive and not moved:
                if self._ended():
                    return
                alive = True
            time.sleep(LOOK)

    def _copy_events(self) -> bool:
        """Store the events that came since the last look; whether there were any."""
        found, upto = new_events(self.events, self.run.read_bytes)
        if upto == self.run.read_bytes:
            return False
        self._durably(lambda: store(self.lease, found, upto))
        return True

    def _beat(self) -> None:
        self._durably(self.lease.renew)
        self._durably(lambda: self.run.refresh_from_db(fields=["wish", "failures"]))

    # Starting and stopping

    def _start(self) -> None:
        """Raises Lost where the run cannot be started, and has ended."""
        try:
            settings = self._durably(lambda: prepare(self.run))
        except (MendableError, OSError, ValueError) as error:
            self._end(RunState.FAILED, str(error))
            raise Lost from error
        gpus = self._durably(lambda: list(self.run.gpus_held.order_by("index").values_list("index", "memory")))
        numbers = [index for index, memory in gpus] if any(memory for _, memory in gpus) else None
        self._began = self.events.stat().st_size if self.events.exists() else 0
        argv = command.command(self.run.recipe, settings, self.run.gpus if numbers else 1)
        environment = command.environment(self.folder, numbers)
        if DECLARED[self.run.recipe].asks("teacher"):
            environment |= stages.key()
        if DECLARED[self.run.recipe].asks("rewards"):
            environment |= rewards.keys()
        self._child = processes.start(argv, environment, self.folder)
        log.info("run_started", run=self.run_id, attempt=self.lease.attempt, pid=self._child.pid)

    def _pass_wishes_on(self) -> None:
        self._going_down = self._going_down or site_is_gone(self._life)
        if self.run.wish == "kill":
            kill(self.folder)
        elif self.run.wish == "stop" or self._going_down:
            self._stop()

    def _stop(self) -> None:
        """Ask the training to save and stop, once."""
        if not self._asked_to_stop:
            self._asked_to_stop = True
            ask_to_stop(self.folder)

    def _heed_consents(self) -> None:
        """Start a stage again without a text whose writer has taken consent back. What was answered is not asked again."""
        if not is_stage(self.run.recipe):
            return
        self._rows = self._rows or stages.rows_there(self.run, self.folder / "data")
        if self._durably(lambda: stages.withdrawn(self.run, self._rows)):
            self._rows.clear()
            kill(self.folder)
            if self.run.wish or self._going_down:
                return  # it ends now, and its data are written anew when it is resumed
            log.info("stage_begins_again", run=self.run_id)
            self._start()

    # The end

    def _ended(self) -> bool:
        """The training is gone: end the run, or start it again. False where it was started again."""
        status = self._child.poll() if self._child else None
        while not kill(self.folder):  # what a launcher left behind; its GPUs are not free before
            self._beat()
        self._beat()
        if outcome(self.run, self.folder).is_dir():
            try:
                self._durably(lambda: register(self.run, self.lease.attempt, self.folder))
            except MendableError as error:
                self._end(RunState.FAILED, str(error))
        elif self.run.wish:
            self._end(RunState.STOPPED, "")
        elif self._going_down:
            self._end(RunState.QUEUED, "")
        elif (problem := self._problem(status)) is not None:
            self._end(RunState.FAILED, problem.replace(f"{self.folder}/", ""))
        else:
            return not self._started_again()
        return True

    def _problem(self, status: int | None) -> str | None:
        """Why the training failed, where starting it again would not help; None where it died. `status` is known of a child of ours."""
        last = last_end(self.events, self._began)
        if last is not None and last.outcome == "failed":
            return last.reason
        if last is None and status == EXIT_MENDABLE:  # before it could open its events: a mistake in the settings
            return last_lines(self.output, 1, most=1000)
        return None

    def _started_again(self) -> bool:
        """After a death: once more, unless it dies again and again at the same step."""
        self.run.failures = self.run.failures + 1 if self.run.step == self._died_at else 1
        self._died_at = self.run.step
        self._durably(lambda: self.lease.write(failures=self.run.failures))
        if self.run.failures >= MOST_DEATHS:
            last = last_lines(self.output)
            self._end(
                RunState.FAILED, f"Its process died {MOST_DEATHS} times in a row after step {self.run.step}.\n\n{last}"
            )
            return False
        log.warning("run_died", run=self.run_id, step=self.run.step, deaths=self.run.failures)
        self._start()
        return True

    def _end(self, state: RunState, problem: str) -> None:
        self._durably(lambda: end(self.run, self.lease.attempt, state, problem))
        log.info("run_ended", run=self.run_id, state=state, problem=problem)

    def _leave_if_ended(self) -> None:
        """Kill the processes of a run that was ended in the database. Another follower's are left alone."""
        state = self._durably(lambda: Run.objects.filter(pk=self.run_id).values_list("state", flat=True).first())
        if state != RunState.RUNNING:
            kill(self.folder)

    # While the database is away

    def _durably(self, work: Callable[[], T]) -> T:
        """Again until the database answers. A training whose database is away for long, or with the whole site, saves and stops."""
        away_since = None
        while True:
            try:
                return work()
            except (OperationalError, InterfaceError) as error:
                with contextlib.suppress(DatabaseError, InterfaceError):
                    connection.close()
                gone, now = site_is_gone(self._life), time.monotonic()
                away_since = away_since or now
                if (gone or now - away_since > DATABASE_PATIENCE) and not self._asked_to_stop:
                    log.warning("stops_without_database", run=self.run_id, error=str(error))
                    self._going_down = True
                    self._stop()
                if gone and not processes_of(self.folder):
                    raise SystemExit(
                        f"Run {self.run_id} is saved, and resumes when the site is started again."
                    ) from None
                time.sleep(0.5)
