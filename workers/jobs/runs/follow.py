"""`python -m workers.jobs.runs.follow RUN`: keeps one training, or stage, going until it ends, and tells the database of it.

    lock the run's folder  ->  find the training, or start it  ->  { copy events, renew the lease, pass wishes on }  ->  end the run

All that it writes is fenced by the attempt: who lost its lease can write nothing. What ended is told from the run's folder, not from an
exit status, since the training may be somebody else's child: a model is there, or its last line says what stopped it, or it
died, and then it is started again and goes on from its last whole checkpoint.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import django
import structlog

T = TypeVar("T")

LOOK, BEAT = 0.25, 3.0
"""Seconds between two looks at the events, and between two renewals of the lease."""
MOST_DEATHS = 3
MOST_EVENTS = 2000
MOST_LINE = 64 * 1024
DATABASE_PATIENCE = 300.0
"""So long a training goes on while the database cannot be reached; then it saves and stops until it can."""

log = structlog.get_logger()


class Lost(Exception):
    """Another follower has this run, or it was ended."""


class Follower:
    def __init__(self, run_id: int) -> None:
        from workers.jobs.runs.folders import private, run_folder
        from workers.jobs.runs.processes import life
        from writer.studio.models import Run

        self.run = Run.objects.select_related("base", "snapshot", "dataset", "corpus", "reward_model", "machine").get(
            pk=run_id
        )
        self.folder = private(run_folder(self.run))
        self.events = self.folder / "events.jsonl"
        self.attempt = 0
        self._away_since: float | None = None
        self._going_down = False
        self._asked = ""
        self._died_at = -1
        self._rows: set[int] = set()
        self._began = self.run.read_bytes
        self._life = life()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._go_down)

    def _go_down(self, *_: object) -> None:
        self._going_down = True

    # The life of a follower

    def follow(self) -> None:
        from workers.jobs.runs.claim import take_over

        assert self.run.machine is not None
        with self._only_one():
            attempt = take_over(self.run.pk, self.run.machine)
            if attempt is None:
                return
            self.attempt = attempt
            try:
                self._keep_going()
            except Lost:
                log.warning("follower_lost", run=self.run.pk, attempt=self.attempt)
                self._leave_if_ended()

    @contextlib.contextmanager
    def _only_one(self) -> Any:
        """One follower to a run. One that holds the lock and lets its lease run out is frozen: it is killed."""
        with (self.folder / ".follower").open("a+") as file:
            for _ in range(100):
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                if self._durably(self._is_late):
                    self._kill_before(file)
                time.sleep(0.2)
            else:
                raise SystemExit(f"run {self.run.pk} is followed already")
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def _is_late(self) -> bool:
        from django.utils import timezone

        from writer.studio.models import Run

        return Run.objects.filter(pk=self.run.pk, lease_until__lte=timezone.now()).exists()

    def _kill_before(self, file: Any) -> None:
        file.seek(0)
        said = file.read().strip()
        if said.isdigit():
            command = Path(f"/proc/{said}/cmdline")
            with contextlib.suppress(OSError):
                if b"workers.jobs.runs.follow" in command.read_bytes():
                    os.kill(int(said), signal.SIGKILL)

    def _keep_going(self) -> None:
        from workers.jobs.runs.processes import processes_of

        beat = 0.0
        alive = bool(processes_of(self.folder))
        if not alive and not self._outcome_is_there():
            self._start()
            alive = True
        looked = time.monotonic()
        while True:
            moved = self._copy_events()
            now = time.monotonic()
            if now - beat > BEAT:
                beat = now
                self._beat()
                self._stop_where_wished()
                self._heed_consents()
            if now - looked > 1.0:
                looked = now
                alive = bool(processes_of(self.folder))
            if not alive and not moved:
                if self._ended():
                    return
                alive = True
            time.sleep(LOOK)

    # Starting and stopping

    def _start(self) -> None:
        from training.common.errors import MendableError
        from workers.jobs.runs import command, processes, rewards, stages
        from workers.jobs.runs.material import prepare
        from writer.studio.registry import DECLARED

        try:
            settings = self._durably(lambda: prepare(self.run))
        except (MendableError, OSError, ValueError) as error:
            self._end("failed", str(error))
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
        log.info("run_started", run=self.run.pk, attempt=self.attempt, pid=self._child.pid)

    def _stop_where_wished(self) -> None:
        from workers.jobs.runs.processes import ask_to_stop, kill

        wish = self.run.wish
        if self._house_is_gone():
            self._going_down = True
        if wish == "kill":
            kill(self.folder)
        elif (wish == "stop" or self._going_down) and self._asked != "stop":
            self._asked = "stop"
            ask_to_stop(self.folder)

    def _heed_consents(self) -> None:
        """A stage that holds a text whose writer has taken consent back begins again without it. What was answered is not asked again."""
        from workers.jobs.runs import stages
        from workers.jobs.runs.processes import kill
        from writer.studio.registry import is_stage

        if not is_stage(self.run.recipe):
            return
        self._rows = self._rows or stages.rows_there(self.run, self.folder / "data")
        if self._durably(lambda: stages.withdrawn(self.run, self._rows)):
            self._rows.clear()
            kill(self.folder)
            if not (self.run.wish or self._going_down):  # else it ends now, and is written anew when it goes on
                log.info("stage_begins_again", run=self.run.pk)
                self._start()

    def _house_is_gone(self) -> bool:
        return self._life >= 0 and _at_end(self._life)

    def _outcome_is_there(self) -> bool:
        from workers.jobs.runs.results import outcome

        return outcome(self.run, self.folder).is_dir()

    def _ended(self) -> bool:
        """The training is gone: end the run, or start it again. False where it goes on."""
        from training.common.errors import MendableError
        from workers.jobs.runs.processes import kill
        from workers.jobs.runs.results import register

        while not kill(self.folder):  # what a launcher left behind; its GPUs are not free before
            self._beat()
        self._beat()
        if self._outcome_is_there():
            try:
                self._durably(lambda: register(self.run, self.attempt, self.folder))
            except MendableError as error:
                self._end("failed", str(error))
            return True
        if self.run.wish:
            self._end("stopped", "")
            return True
        if self._going_down:
            self._end("queued", "")
            return True
        if (why := _why_it_stopped(self.events, self._began, self.folder / "output.log")) is not None:
            self._end("failed", why.replace(f"{self.folder}/", ""))
            return True
        return not self._again()

    def _again(self) -> bool:
        """After a death: once more, unless it dies again and again at the same step."""
        self.run.failures = self.run.failures + 1 if self.run.step == self._died_at else 1
        self._died_at = self.run.step
        self._write(failures=self.run.failures)
        if self.run.failures >= MOST_DEATHS:
            last = _last_lines(self.folder / "output.log")
            self._end("failed", f"Its process died {MOST_DEATHS} times in a row after step {self.run.step}.\n\n{last}")
            return False
        log.warning("run_died", run=self.run.pk, step=self.run.step, deaths=self.run.failures)
        self._start()
        return True

    # What is written

    def _durably(self, work: Callable[[], T]) -> T:
        """Again until the database answers. A training whose database is away for long, or with the whole house, saves and stops."""
        from django.db import DatabaseError, InterfaceError, OperationalError, connection

        from workers.jobs.runs.processes import ask_to_stop, processes_of

        while True:
            try:
                done = work()
            except (OperationalError, InterfaceError) as error:
                with contextlib.suppress(DatabaseError, InterfaceError):
                    connection.close()
                now = time.monotonic()
                self._away_since = self._away_since or now
                too_long = now - self._away_since > DATABASE_PATIENCE
                if (too_long or self._house_is_gone()) and self._asked != "stop":
                    log.warning("stops_without_database", run=self.run.pk, error=str(error))
                    self._asked = "stop"
                    self._going_down = True
                    ask_to_stop(self.folder)
                if self._house_is_gone() and not processes_of(self.folder):
                    raise SystemExit(f"run {self.run.pk} was saved, and waits for the house to start again") from None
                time.sleep(0.5)
                continue
            self._away_since = None
            return done

    def _write(self, **changes: Any) -> None:
        """Change the run's row, if it is still ours."""
        from writer.studio.models import Run

        ours = Run.objects.filter(pk=self.run.pk, attempt=self.attempt, state="running")
        if not self._durably(lambda: ours.update(**changes)):
            raise Lost

    def _beat(self) -> None:
        from django.utils import timezone

        from workers.jobs.runs.claim import LEASE

        self._write(lease_until=timezone.now() + LEASE)
        self._durably(lambda: self.run.refresh_from_db(fields=["wish", "failures"]))

    def _copy_events(self) -> bool:
        """The lines that came since the last look; whether there were any."""
        lines, upto = _new_lines(self.events, self.run.read_bytes)
        if upto == self.run.read_bytes:
            return False
        self._durably(lambda: self._store(lines, upto))
        return True

    def _store(self, lines: list[dict[str, Any]], upto: int) -> None:
        from django.db import transaction

        from writer.studio.models import Run, RunEvent

        seq, step, steps, phase = self.run.last_seq, self.run.step, self.run.steps, self.run.phase
        rows = []
        for line in lines:
            seq += 1
            body = {name: value for name, value in line.items() if name not in ("kind", "time", "step")}
            at = datetime.fromtimestamp(line["time"], UTC)
            rows.append(
                RunEvent(run_id=self.run.pk, seq=seq, kind=line["kind"], time=at, step=line.get("step"), body=body)
            )
            step = line.get("step") or step
            phase = line.get("name") or phase
            steps = line.get("of") or steps
        with transaction.atomic():
            ours = Run.objects.filter(
                pk=self.run.pk, attempt=self.attempt, state="running", read_bytes=self.run.read_bytes
            )
            if not ours.update(read_bytes=upto, last_seq=seq, step=step, steps=steps, phase=phase):
                raise Lost
            RunEvent.objects.bulk_create(rows)
        self.run.read_bytes, self.run.last_seq, self.run.step = upto, seq, step
        self.run.steps, self.run.phase = steps, phase

    def _end(self, state: str, problem: str) -> None:
        from workers.jobs.runs.results import end

        self._durably(lambda: end(self.run, self.attempt, state, problem))
        log.info("run_ended", run=self.run.pk, state=state, problem=problem)

    def _leave_if_ended(self) -> None:
        """Somebody ended the run in the database: its processes must not go on. Another follower's are left alone."""
        from workers.jobs.runs.processes import kill
        from writer.studio.models import Run

        state = self._durably(lambda: Run.objects.filter(pk=self.run.pk).values_list("state", flat=True).first())
        if state != "running":
            kill(self.folder)


def _new_lines(path: Path, start: int) -> tuple[list[dict[str, Any]], int]:
    """Whole lines after byte `start`, some at a time, and where they end. Lines that are no events are passed over."""
    from pydantic import TypeAdapter, ValidationError

    from training.common.records import Event

    event: TypeAdapter[Event] = TypeAdapter(Event)
    try:
        with path.open("rb") as file:
            file.seek(start)
            raw = file.read(MOST_LINE * 16)
    except FileNotFoundError:
        return [], start
    whole = raw.rfind(b"\n") + 1
    if not whole and len(raw) > MOST_LINE:
        whole = len(raw)  # no event is as long: whatever it is, it is passed over
    found: list[dict[str, Any]] = []
    used = 0
    for line in raw[:whole].split(b"\n")[:-1] if raw[:whole].endswith(b"\n") else []:
        used += len(line) + 1
        with contextlib.suppress(ValidationError, ValueError):
            found.append(json.loads(event.validate_json(line).model_dump_json()))
        if len(found) == MOST_EVENTS:
            break
    return found, start + (used or whole)


def _why_it_stopped(events: Path, since: int, output: Path) -> str | None:
    """What the training said when it stopped itself, in what it has written since that byte; None where it just died."""
    said: list[str] = []
    while (found := _new_lines(events, since))[1] != since:
        said += [line["text"] for line in found[0] if line["kind"] == "log"]
        since = found[1]
    for text in reversed(said[-5:]):
        if text.startswith("Stopped: "):
            return text.removeprefix("Stopped: ")
    with contextlib.suppress(OSError, IndexError):  # before it could open its events: a mistake in the settings
        last = output.read_text(errors="replace").strip().splitlines()[-1]
        if last.startswith("The settings file "):
            return last
    return None


def _last_lines(path: Path) -> str:
    with contextlib.suppress(OSError):
        return "\n".join(line[:200] for line in path.read_text(errors="replace").strip().splitlines()[-4:])
    return ""


def _at_end(descriptor: int) -> bool:
    """Whether the other side of the socket is closed, without waiting."""
    import select

    ready, _, _ = select.select([descriptor], [], [], 0)
    return bool(ready)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    django.setup()
    Follower(int(sys.argv[1])).follow()


if __name__ == "__main__":
    main()
