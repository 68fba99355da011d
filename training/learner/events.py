"""`events.jsonl`: what a run tells to whoever follows it, one JSON object per line, only ever appended to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from training.records import Event, LogLine, Metrics, Phase

_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


class EventLog:
    """Appends whole lines; a line is flushed at once, so that a follower sees it and a killed run loses none."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        if self._file.tell() and not path.read_bytes().endswith(b"\n"):
            self._file.write("\n")  # a run was killed in the middle of a line

    def _append(self, event: Event) -> None:
        self._file.write(event.model_dump_json() + "\n")
        self._file.flush()

    def metrics(self, step: int, **values: float) -> None:
        self._append(Metrics(time=time.time(), step=step, values=values))
        print(f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()), flush=True)

    def log(self, text: str) -> None:
        self._append(LogLine(time=time.time(), text=text))
        print(text, flush=True)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        seconds = time.monotonic() - start
        self._append(Phase(time=time.time(), name=name, seconds=round(seconds, 3)))


def read_events(path: Path) -> list[Event]:
    """The events of a run, without lines that a kill cut short."""
    events: list[Event] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            events.append(_EVENT.validate_json(line))
        except ValidationError:
            continue
    return events
