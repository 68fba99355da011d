"""How a stage ends, as a record in its events."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from training.common.errors import AskedToStop, MendableError
from training.common.events import read_events
from training.common.records import Ended
from training.config.settings import Settings
from training.datasets.stage import stage


def the_end(run: Path, error: BaseException | None) -> Ended:
    with suppress(AskedToStop, MendableError, ValueError), stage(Settings(), run) as running:
        running.done = 3
        if error is not None:
            raise error
    (event,) = read_events(run / "events.jsonl")
    assert isinstance(event, Ended)
    return event


@pytest.mark.parametrize(
    ("error", "outcome", "reason", "text"),
    [
        (None, "done", "", "Done."),
        (AskedToStop(), "stopped", "", "Stopped after step 3, as asked; the same command resumes from here."),
        (MendableError("The teacher is away."), "failed", "The teacher is away.", "Failed: The teacher is away."),
        (ValueError("Odd."), "failed", "Odd.", "Failed: Odd."),
    ],
)
def test_how_it_ends(tmp_path: Path, error: BaseException | None, outcome: str, reason: str, text: str) -> None:
    event = the_end(tmp_path / "run", error)
    assert (event.outcome, event.reason, event.text) == (outcome, reason, text)
    assert event.step == (None if outcome == "failed" else 3)
