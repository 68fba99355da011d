"""Copies the events that a run reports into the database: each line of `events.jsonl` once, in order."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path

from django.db import transaction
from pydantic import ValidationError

from training.common.events import parse_event
from training.common.records import Ended, Event, Metrics, Phase
from workers.lease import Lease, Lost, held
from writer.studio.models import Run, RunEvent

AT_ONCE = 2000
MOST_LINE = 64 * 1024
"""Bytes. Every event is shorter."""


def new_events(path: Path, start: int) -> tuple[list[Event], int]:
    """The next events after byte `start`, and the byte after their last line. Lines that are not events are skipped."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            raw = file.read(MOST_LINE * 16)
    except FileNotFoundError:
        return [], start
    whole = raw.rfind(b"\n") + 1
    if not whole:
        return [], start + (len(raw) if len(raw) > MOST_LINE else 0)
    found: list[Event] = []
    used = 0
    for line in raw[:whole].split(b"\n")[:-1]:
        used += len(line) + 1
        with contextlib.suppress(ValidationError):
            found.append(parse_event(line))
        if len(found) == AT_ONCE:
            break
    return found, start + used


def store(lease: Lease[Run], events: list[Event], upto: int) -> None:
    """Store the events and the position `upto` in the file, in one transaction. Raises Lost."""
    run = lease.row
    seq, step, steps, phase = run.last_seq, run.step, run.steps, run.phase
    rows = []
    for event in events:
        seq += 1
        values = json.loads(event.model_dump_json())
        kind, time, at_step, _ = (values.pop(name, None) for name in ("kind", "time", "step", "plain"))
        at = datetime.fromtimestamp(time, UTC)
        rows.append(RunEvent(run_id=run.pk, seq=seq, kind=kind, time=at, step=at_step, body=values))
        if isinstance(event, Metrics):
            step, steps = event.step or step, event.of or steps
        elif isinstance(event, Phase):
            phase = event.name or phase
    with transaction.atomic():
        mine = held(run, lease.attempt).filter(read_bytes=run.read_bytes)
        if not mine.update(read_bytes=upto, last_seq=seq, step=step, steps=steps, phase=phase):
            raise Lost
        RunEvent.objects.bulk_create(rows)
    run.read_bytes, run.last_seq, run.step, run.steps, run.phase = upto, seq, step, steps, phase


def last_end(path: Path, start: int) -> Ended | None:
    """The last `Ended` event after byte `start`; None if the run died without one."""
    last = None
    while (found := new_events(path, start))[1] != start:
        last = next((one for one in reversed(found[0]) if isinstance(one, Ended)), last)
        start = found[1]
    return last


def last_lines(path: Path, count: int = 4, most: int = 200) -> str:
    """The last `count` lines of a process' output, each cut to `most` characters."""
    with contextlib.suppress(OSError):
        return "\n".join(line[:most] for line in path.read_text(errors="replace").strip().splitlines()[-count:])
    return ""
