"""A run that exceeds a limit stops, and reports the reason."""

from __future__ import annotations

import pytest

from training.rollouts.guards import Guards, Halted, exceeded
from training.rollouts.settings import GuardSettings

WELL = {
    "length_ratio": 1.0,
    "repeated": 0.05,
    "entropy": 2.0,
    "cut": 0.0,
    "addresses_judge": 0.0,
    "divergence": 0.1,
    "disagreement": 0.0,
    "probe_stuffed": -0.2,
}


@pytest.mark.parametrize(
    ("measure", "value", "says"),
    [
        ("length_ratio", 2.0, "words written to words asked for"),
        ("length_ratio", 0.4, "words written to words asked for"),
        ("repeated", 0.5, "runs of four tokens"),
        ("entropy", 0.1, "entropy"),
        ("cut", 0.9, "did not end"),
        ("addresses_judge", 0.3, "speak to a judge"),
        ("divergence", 3.0, "divergence"),
        ("disagreement", 0.4, "second judge"),
        ("probe_stuffed", 0.2, "stuffed with words of praise"),
    ],
)
def test_each_bound_ends_the_run_when_it_is_exceeded_three_times_in_a_row(
    measure: str, value: float, says: str
) -> None:
    said: list[str] = []
    guards = Guards(GuardSettings(divergence=1.0), said.append)
    guards.check(0, WELL | {measure: value})
    guards.check(1, WELL)  # all is well again
    for step in (2, 3):
        guards.check(step, WELL | {measure: value})
    assert len(said) == 3
    with pytest.raises(Halted, match="The run stopped itself at step 5") as halted:
        guards.check(4, WELL | {measure: value})
    assert says in str(halted.value)
    assert "3 times in a row" in str(halted.value)


def test_measures_that_come_now_and_then_are_counted_by_their_own_checks() -> None:
    guards = Guards(GuardSettings(patience=2), lambda _: None)
    guards.check(0, WELL | {"disagreement": 0.4})
    without = {name: value for name, value in WELL.items() if name != "disagreement"}
    guards.check(1, without)
    with pytest.raises(Halted):
        guards.check(2, WELL | {"disagreement": 0.4})


def test_bounds_may_be_left_out() -> None:
    none = GuardSettings(
        length_ratio=None, repetition=None, entropy=None, cut=None, disagreement=None, addresses_judge=None, probe=None
    )
    assert list(exceeded(none, dict.fromkeys(WELL, 1000000.0) | {"entropy": 0.0})) == []
    assert list(exceeded(GuardSettings(), WELL)) == []
    assert list(exceeded(GuardSettings(), {})) == []
