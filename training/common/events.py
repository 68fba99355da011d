"""`events.jsonl`: what a run tells to whoever follows it, one JSON object per line, only ever appended to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from training.common.records import Event, LogLine, Metrics, Phase
from training.common.redaction import redact

_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


class EventLog:
    """Appends whole lines; a line is flushed at once, so that a follower sees it and a killed run loses none.

    Without a path it says nothing to anybody: of several processes only the first tells. Keys and tokens are never written.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("a", encoding="utf-8") if path else None
        if path and self._file and self._file.tell() and not path.read_bytes().endswith(b"\n"):
            self._file.write("\n")  # a run was killed in the middle of a line

    def _append(self, event: Event) -> None:
        assert self._file
        self._file.write(redact(event.model_dump_json()) + "\n")
        self._file.flush()

    def metrics(self, step: int, bar: Any = None, of: int | None = None, **values: float) -> None:
        """Write the values; where a person watches, show them beside the progress `bar`, else on a line."""
        if not self._file:
            return
        self._append(Metrics(time=time.time(), step=step, of=of, values=values))
        if bar is None:
            print(f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()), flush=True)
        else:
            bar.set_postfix({name: f"{value:.4g}" for name, value in list(values.items())[:4]}, refresh=False)
            bar.update(step - bar.n)

    def log(self, text: str, *, show: bool = True) -> None:
        if not self._file:
            return
        self._append(LogLine(time=time.time(), text=text))
        if show:
            print(redact(text), flush=True)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        if self._file:
            seconds = time.monotonic() - start
            self._append(Phase(time=time.time(), name=name, seconds=round(seconds, 3)))


def read_events(path: Path) -> list[Event]:
    """The events of a run, without lines that a kill cut short."""
    events: list[Event] = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            events.append(_EVENT.validate_json(line))
        except ValidationError:
            continue
    return events
