"""What the events of a run say, read into one record for its page."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from training.common.errors import MendableError
from training.common.events import parse_event
from training.common.records import Ended, Event, LogLine, Metrics, ModelSaved, Phase, Resumed
from training.reporting.charts import Curve

NAMES = {
    "grad_norm": "gradient norm",
    "memory_gib": "memory, GiB",
    "seconds": "seconds of a step",
    "tokens": "tokens of a step",
}
Line = LogLine | Resumed | ModelSaved | Ended
"""Events that are lines of the log."""


@dataclass(slots=True)
class RunHistory:
    """The curves, phases and log of a run."""

    curves: dict[str, Curve] = field(default_factory=dict)
    phases: dict[str, list[float]] = field(default_factory=dict)
    log: list[Line] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)
    begun: float = 0
    ended: float = 0
    events: int = 0
    unread: int = 0
    gaps: float = 0
    """Seconds between the last event before a resume and the resume."""
    last: Event | None = None

    def add(self, event: Event) -> None:
        self.begun = self.begun or event.time
        before, self.ended = self.ended, event.time
        self.events += 1
        self.last = event
        if isinstance(event, Phase):
            self.phases.setdefault(event.name, []).append(event.seconds)
        elif isinstance(event, Metrics):
            self._measured(event)
        else:
            self.log.append(event)
            if isinstance(event, Resumed) and before:
                self.gaps += max(0.0, event.time - before)

    def _measured(self, event: Metrics) -> None:
        for name, value in event.values.items():
            curve = self.curves.setdefault(name, Curve(NAMES.get(name, name.replace("_", " "))[:100]))
            if curve.steps and event.step <= curve.steps[-1] and event.step not in self.resumed:
                self.resumed.append(event.step)
            curve.add(event.step, value)


def read_history(path: Path) -> RunHistory:
    """The events of a run; lines that are none are counted."""
    history = RunHistory()
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if not line.strip():
                    continue
                try:
                    history.add(parse_event(line))
                except ValidationError:
                    history.unread += 1
    except OSError as error:
        raise MendableError(f"{path} cannot be read: {error.strerror}. Name the folder of a run.") from None
    if not history.events:
        raise MendableError(f"{path} holds no events yet: there is nothing to report.")
    return history
