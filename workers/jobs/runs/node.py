"""The part of a run on several machines that a machine has which does not lead it (`manage.py follow_run RUN --node`).

    read the run's row  ->  { a new rendezvous: join it;  the rendezvous is over: kill the part }  ->  the run is over here: free the GPUs

The row is all that machines tell each other: the follower on the leading machine (`workers.jobs.runs.follow`) writes the rendezvous of each start
into it. A machine whose part ended with an error takes the rendezvous out, and so ends the other parts. What is shared besides is the run's folder.

A machine that cannot reach the database ends its part before the others give it up (`claim.GONE`). It frees its GPUs only after its processes have
ended, whatever has become of the run meanwhile.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction

from workers import processes
from workers.folders import private, run_folder, weights_of
from workers.jobs.runs import command
from workers.jobs.runs.follow import RENDEZVOUS
from workers.jobs.runs.only_one import only_one
from workers.jobs.runs.results import end
from workers.processes import ask_to_stop, kill, processes_of, site_is_gone
from writer.studio.models import Gpu, Run, RunState
from writer.studio.registry import DECLARED

T = TypeVar("T")

POLL_SECONDS = 1.0
DATABASE_PATIENCE = 40.0
"""Seconds that the part continues while the database is unreachable: less than `claim.GONE`."""
SHARING_PATIENCE = 60.0
"""Seconds in which a file that the leading machine wrote must be seen here: a network file system may show it late."""
LEAVING = 20.0
"""Seconds that a machine which shuts down waits, after its part has been saved, for the run to end."""

JOINED = "joined"
"""The file with the rendezvous that was joined last. None is joined twice: a process that replaces this one resumes its part, or gives it up."""

log = structlog.get_logger()


def node_folder(run_id: int, machine: str) -> Path:
    """The folder of a machine's part, in the run's folder: its output, and the tag of its processes."""
    return run_folder(run_id) / "nodes" / machine


class Node:
    """One machine's part of a run, in a process of its own. On SIGTERM the whole run is saved and stopped."""

    def __init__(self, run_id: int) -> None:
        self.run_id, self.machine = run_id, socket.gethostname()
        self.folder = private(node_folder(run_id, self.machine))
        self._joined = ""
        self._child: subprocess.Popen[bytes] | None = None
        self._shutting_down = False
        self._asked: str | None = None
        self._site_socket = processes.site_socket()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._shut_down)

    def _shut_down(self, *_: object) -> None:
        self._shutting_down = True

    def take_part(self) -> None:
        with only_one(self.folder, lambda: False):
            idle_since = time.monotonic()
            while (run := self._patiently(self._read)) is not None:
                if self._look(run):
                    idle_since = time.monotonic()
                if self._shutting_down and time.monotonic() - idle_since > LEAVING:
                    return
                time.sleep(POLL_SECONDS)
            self._leave()

    def _read(self) -> Run | None:
        """The run, if this machine takes part in it."""
        found = Run.objects.select_related("base", "machine").filter(pk=self.run_id, state=RunState.RUNNING).first()
        if found is None or found.machine is None or found.machine.name == self.machine:
            return None
        return found if self.machine in found.meeting.get("machines", ()) else None

    def _look(self, run: Run) -> bool:
        """Start or end this machine's part, as the run's row says. Returns whether it is at work."""
        self._shutting_down = self._shutting_down or site_is_gone(self._site_socket)
        wanted = run.meeting.get("id", "")
        if wanted != self._joined:
            self._joined = wanted if wanted and _holds(self.folder / JOINED, wanted) else ""
            if not self._joined:
                self._kill()
                if wanted and not self._shutting_down:
                    self._join(run)
        if not self._joined:
            return False
        if run.wish == "kill":
            self._kill()
        elif (run.wish == "stop" or self._shutting_down) and self._asked != self._joined:
            self._asked = self._joined
            ask_to_stop(self.folder)
        status = self._child.poll() if self._child else -1
        alive = status is None or bool(processes_of(self.folder))
        if not alive and status != 0:
            self._give_up()
        return alive

    def _join(self, run: Run) -> None:
        wanted = run.meeting["id"]
        if problem := self._problem(run, wanted):
            self._patiently(lambda: end(run, run.attempt, RunState.FAILED, problem))
            return
        (self.folder / JOINED).write_text(wanted)
        settings = run_folder(run) / "run.json"
        self._child = self._patiently(lambda: command.start(run, settings, self.folder, self.machine))
        self._joined = wanted
        log.info("run_joined", run=self.run_id, rendezvous=wanted)

    def _problem(self, run: Run, wanted: str) -> str:
        """Why this machine cannot take part, in words for the run's page; empty if it can."""
        shared, until = run_folder(run) / RENDEZVOUS, time.monotonic() + SHARING_PATIENCE
        while not _holds(shared, wanted):
            if time.monotonic() > until:
                return (
                    f"The machine {self.machine} does not see the run's folder, {run_folder(run)}. A run on several machines needs the same folder "
                    "at the same path on all of them: share it, or use one machine."
                )
            if (newer := self._patiently(self._read)) is None or newer.meeting.get("id") != wanted:
                return ""  # it will not be joined: the next look finds out
            time.sleep(POLL_SECONDS)
        if run.recipe not in DECLARED:
            return f"The machine {self.machine} has no recipe {run.recipe!r}: install the package that declares it there, too."
        missing = [path for path in weights_of(run).values() if not path.is_dir()] if run.base else []
        if missing:
            return (
                f"The machine {self.machine} has no model at {missing[0]}. A run on several machines needs the model that it starts from "
                "at the same path on all of them: share or copy it, or use one machine."
            )
        return ""

    def _give_up(self) -> None:
        """This machine's part has ended, so the other parts end, too. They may have done so already."""
        log.warning("part_ended", run=self.run_id, rendezvous=self._joined)
        with_it = Run.objects.filter(pk=self.run_id, state=RunState.RUNNING, rendezvous__id=self._joined)

        def take_out() -> None:
            with transaction.atomic():
                found = with_it.select_for_update().first()
                if found is not None:
                    with_it.update(rendezvous={"machines": found.meeting["machines"]})

        self._patiently(take_out)
        self._joined = ""

    def _kill(self) -> None:
        while not kill(self.folder):
            log.warning("part_does_not_end", run=self.run_id)

    def _leave(self) -> None:
        """End what the run has here, and free its GPUs, unless this machine leads it."""
        self._kill()
        if self._patiently(self._leads):
            return
        while not kill(run_folder(self.run_id)):  # it may have led the run before
            log.warning("part_does_not_end", run=self.run_id)

        def free() -> None:
            with transaction.atomic():
                Run.objects.select_for_update().get(pk=self.run_id)
                if not self._leads():
                    Gpu.objects.filter(run=self.run_id, machine__name=self.machine).update(run=None)

        self._patiently(free)
        log.info("run_left", run=self.run_id)

    def _leads(self) -> bool:
        return Run.objects.filter(pk=self.run_id, state=RunState.RUNNING, machine__name=self.machine).exists()

    def _patiently(self, work: Callable[[], T]) -> T:
        """Retry until the database answers. If it is unreachable for too long, or the whole site is down, end the part and raise SystemExit."""
        unreachable_since = None
        while True:
            try:
                return work()
            except (OperationalError, InterfaceError):
                with contextlib.suppress(DatabaseError, InterfaceError):
                    connection.close()
                now = time.monotonic()
                unreachable_since = unreachable_since or now
                if site_is_gone(self._site_socket) or now - unreachable_since > DATABASE_PATIENCE:
                    self._kill()
                    raise SystemExit(f"The database does not answer, so this machine left run {self.run_id}.") from None
                time.sleep(0.5)


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text() == text
    except OSError:
        return False
