"""`events.jsonl`: the events of a run, one JSON object per line, append-only."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from training.common.records import Ended, Event, LogLine, Metrics, ModelSaved, Outcome, Phase, Resumed
from training.common.redaction import redact

EVENT: TypeAdapter[Event] = TypeAdapter(Event)


class EventLog:
    """Appends events. Each line is flushed at once, so that followers see it and a killed run loses none.

    Without a path it writes nothing, because of several processes only the first reports. Keys and tokens are redacted.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("a", encoding="utf-8") if path else None
        if path and self._file and self._file.tell() and not path.read_bytes().endswith(b"\n"):
            self._file.write("\n")  # a run was killed in the middle of a line

    def _append(self, event: Event) -> None:
        assert self._file
        self._file.write(redact(event.model_dump_json()) + "\n")
        self._file.flush()

    def _write(self, event: LogLine | Resumed | ModelSaved | Ended, *, show: bool = True) -> None:
        if not self._file:
            return
        self._append(event)
        if show:
            print(redact(event.text), flush=True)

    def metrics(self, step: int, bar: Any = None, of: int | None = None, **values: float) -> None:
        """Write the metrics of a step, and show them beside the progress `bar`, or without one on a line."""
        if not self._file:
            return
        event = Metrics(time=time.time(), step=step, of=of, values=values)
        self._append(event)
        if bar is None:
            print(event.text, flush=True)
        else:
            bar.set_postfix({name: f"{value:.4g}" for name, value in list(values.items())[:4]}, refresh=False)
            bar.update(step - bar.n)

    def log(self, text: str) -> None:
        self._write(LogLine(time=time.time(), text=text, plain=True))

    def resumed(self, checkpoint: Path, step: int) -> None:
        self._write(Resumed(time=time.time(), checkpoint=str(checkpoint), step=step))

    def model_saved(self, folder: Path) -> None:
        self._write(ModelSaved(time=time.time(), path=str(folder)))

    def ended(self, outcome: Outcome, step: int | None = None, reason: str = "") -> None:
        """Write how the run ended. Only a stop is also printed, because the command line reports the other outcomes."""
        event = Ended(time=time.time(), outcome=outcome, step=step, reason=reason)
        self._write(event, show=outcome == "stopped")

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        if self._file:
            seconds = time.monotonic() - start
            self._append(Phase(time=time.time(), name=name, seconds=round(seconds, 3)))


def parse_event(line: str | bytes) -> Event:
    """Return the event of a line of `events.jsonl`, from this version of the library or an older one. Raises ValidationError."""
    event = EVENT.validate_json(line)
    return _typed(event) if isinstance(event, LogLine) and not event.plain else event


def _typed(line: LogLine) -> Event:
    """Return the event that a log line of an old run represents: before the end of 2026, runs wrote these events as sentences."""
    text, at = line.text, line.time
    if found := re.fullmatch(r"Going on from (.*step-(\d+))\.", text):
        return Resumed(time=at, checkpoint=found[1], step=int(found[2]))
    if found := re.fullmatch(r"The model is in (.*)\.", text):
        return ModelSaved(time=at, path=found[1])
    if found := re.fullmatch(r"Stopped(?: after step (\d+),| while it was getting ready,)? as asked[.;].*", text):
        return Ended(time=at, outcome="stopped", step=int(found[1]) if found[1] else None)
    if text.startswith("Stopped: "):
        return Ended(time=at, outcome="failed", reason=text.removeprefix("Stopped: "))
    return Ended(time=at, outcome="interrupted") if text == "Interrupted." else line


def read_events(path: Path) -> list[Event]:
    """Return the events of a run, without incomplete lines."""
    events: list[Event] = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            events.append(parse_event(line))
        except ValidationError:
            continue
    return events
