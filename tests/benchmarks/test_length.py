"""The measures of the starter model in `make bench-length`, on outcomes that can be worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.length import starter_measures


def outcome(target: int, ending: str, text: str, state: str = "done") -> dict[str, Any]:
    return {"target": target, "words": len(text.split()), "state": state, "ending": ending, "notice": "", "text": text}


def test_endings_are_counted_apart_and_by_length() -> None:
    fresh, same = " ".join(f"w{number}" for number in range(40)), "over and over again " * 10
    outcomes = [
        outcome(1000, "ended", fresh),
        outcome(1000, "landed", fresh + " " + same),
        outcome(1000, "landed", fresh),
        outcome(1000, "", fresh, "failed"),
        outcome(3000, "ended", fresh),
    ]
    found = {one.measure: one.value for one in starter_measures(outcomes, (1000, 3000))}
    assert found["ended_by_itself_1000_starter"] == 0.25
    assert found["landed_1000_starter"] == 0.5
    assert found["given_up_1000_starter"] == 0.25
    # Of 40 words that say the same ten times, 37 phrases, of which four are new.
    assert found["late_repetition_1000_starter"] == pytest.approx((33 / 37) / 4, abs=1e-3)
    assert found["ended_by_itself_3000_starter"] == 1
    assert found["late_repetition_3000_starter"] == 0


def test_without_the_model_it_says_why() -> None:
    found = starter_measures([], (1000,), "the starter model is not there")
    assert [(one.value, one.note) for one in found] == [(None, "the starter model is not there")] * 4
