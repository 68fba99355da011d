"""Runs one training or stage until it ends, and copies its events into the database (`manage.py follow_run RUN`).

    lock the run's folder  ->  find the training, or start it  ->  { copy events, renew the lease, forward stop requests }  ->  end the run

All writes are fenced (`workers.lease`). The outcome is read from the run's folder, since the training may be the child of another
process: either a model is there, or the last event says that it failed and why. Otherwise it died; it is then restarted and resumes
from its last complete checkpoint.

Of a run on several machines there is one follower, on the machine that leads it; `workers.jobs.runs.node` has the others' part. Each start
opens a new rendezvous, which is written into the row. A machine whose part has ended takes it out of the row: then the other parts end too.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from training.common.errors import EXIT_MENDABLE, MendableError, disk_errors_explained
from training.serving.process import free_port
from workers import processes
from workers.folders import private, run_folder
from workers.jobs.runs import command, stages
from workers.jobs.runs.claim import gone, take_over
from workers.jobs.runs.events import last_end, last_lines, new_events, store
from workers.jobs.runs.material import prepare
from workers.jobs.runs.only_one import only_one
from workers.jobs.runs.results import end, is_finished, register
from workers.lease import Lease, Lost, expired
from workers.machine import address
from workers.processes import ask_to_stop, kill, processes_of, site_is_gone
from writer.studio.models import Run, RunState
from writer.studio.registry import is_stage

T = TypeVar("T")

POLL_SECONDS, RENEW_SECONDS = 0.25, 3.0
"""Seconds between two reads of the events, and between two renewals of the lease."""
MAX_CRASHES = 3
DATABASE_PATIENCE = 300.0
"""Seconds that a training continues while the database is unreachable; then it saves and stops."""
TO_END = 10.0
"""Seconds in which this machine's part of a run ends by itself after that of another machine."""
RENDEZVOUS = "rendezvous"
"""The file in a run's folder by which another machine sees that it has the same folder."""

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
        self._rendezvous = ""
        self._parted: float | None = None
        self._gone: list[str] = []
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

    @property
    def _here(self) -> str:
        """This machine's name."""
        assert self.run.machine is not None
        return self.run.machine.name

    def _run(self) -> None:
        beat = 0.0
        self._rendezvous = self.run.meeting.get("id", "")
        alive = bool(processes_of(self.folder))
        unwanted = self.run.wish or self._shutting_down
        if not alive and not unwanted and not is_finished(self.run, self.folder):
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
                self._check_machines()
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
        self._retry(lambda: self.run.refresh_from_db(fields=["wish", "failures", "rendezvous"]))

    # Starting and stopping

    def _start(self) -> None:
        """Start the training. Raises Lost if it cannot be started, in which case the run has been ended."""
        settings = self._or_end("it was started", lambda: prepare(self.run))
        self._began = self.events.stat().st_size if self.events.exists() else 0
        if self.run.nodes > 1:
            self._open_rendezvous()
        self._child = self._retry(lambda: command.start(self.run, settings, self.folder, self._here))
        log.info("run_started", run=self.run_id, attempt=self.lease.attempt, pid=self._child.pid)

    def _open_rendezvous(self) -> None:
        """Tell the other machines of the run to start their parts. None trains before all have come, so nothing of an earlier start is at work."""
        self._rendezvous, self._parted = f"{self.run_id}-{secrets.token_hex(8)}", None
        (self.folder / RENDEZVOUS).write_text(self._rendezvous)
        place = {"id": self._rendezvous, "endpoint": f"{address()}:{free_port()}"}
        self.run.rendezvous = {"machines": self.run.meeting["machines"]} | place
        self._retry(lambda: self.lease.write(rendezvous=self.run.rendezvous))

    def _check_machines(self) -> None:
        """End this machine's part of the run after that of another one has ended, or when another one is gone."""
        if self.run.nodes == 1 or not self._rendezvous:
            return
        now = self.run.meeting
        self._gone = self._retry(lambda: gone([name for name in now.get("machines", ()) if name != self._here]))
        if self._parted is None and now.get("id") != self._rendezvous:
            self._parted = time.monotonic()
        if self._gone or (self._parted is not None and time.monotonic() - self._parted > TO_END):
            log.warning("run_parted", run=self.run_id, gone=self._gone)
            self._kill()

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
        if is_finished(self.run, self.folder):
            self._or_end("its result was stored", lambda: register(self.run, self.lease.attempt, self.folder))
        elif self.run.wish:
            self._end(RunState.STOPPED, "")
        elif self._shutting_down:
            self._end(RunState.QUEUED, "")
        elif (problem := self._problem(status)) is not None:
            self._end(RunState.FAILED, problem.replace(f"{self.folder}/", ""))
        elif self._gone or self._stopped_elsewhere():
            self._end(RunState.QUEUED, "")  # it is resumed on as many machines as it asks for
        else:
            return not self._restarted()
        return True

    def _stopped_elsewhere(self) -> bool:
        """Whether the run was saved and stopped because another machine of it shuts down."""
        last = last_end(self.events, self._began) if self.run.nodes > 1 else None
        return last is not None and last.outcome == "stopped"

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
        """Kill the processes of a run that was ended in the database, or that another machine leads, but not those of another follower."""
        running = Run.objects.filter(pk=self.run_id, state=RunState.RUNNING, machine=self.run.machine)
        if not self._retry(running.exists):
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
