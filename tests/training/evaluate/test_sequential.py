from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad

from training.evaluate.sequential import Rule, decide, evidence, prospect


@pytest.mark.parametrize(
    ("wins", "losses", "share"), [(0, 0, 0.5), (7, 0, 0.5), (12, 5, 0.5), (30, 31, 0.4), (3, 20, 0.6)]
)
def test_evidence_is_the_integral_that_it_says(wins: int, losses: int, share: float) -> None:
    top, _ = quad(lambda p: p**wins * (1 - p) ** losses, share, 1)
    expected = top / (1 - share) / (share**wins * (1 - share) ** losses)
    assert evidence(wins, losses, share) == pytest.approx(expected, rel=1e-7)


def test_evidence_of_very_many_votes_neither_overflows_nor_vanishes() -> None:
    assert evidence(9000, 1000) > 1e300
    assert 0 <= evidence(1000, 9000) < 1e-3


def test_seven_in_a_row_decide() -> None:
    rule = Rule(confidence=0.95, most=40)
    assert decide(6, 0, rule) == "open"
    assert decide(7, 0, rule) == "better"
    assert decide(0, 7, rule) == "not better"
    assert decide(20, 20, rule) == "not better"


@pytest.mark.parametrize("share", [0.4, 0.5])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_a_candidate_that_is_not_better_is_promoted_no_more_often_than_stated(share: float, confidence: float) -> None:
    """Exactly, on the edge of the hypothesis, where errors are the most frequent; and inside it, where they are fewer."""
    rule = Rule(confidence, share, most=150)
    on_the_edge = prospect(share, rule).promoted
    assert 0 < on_the_edge <= 1 - confidence
    assert prospect(share - 0.1, rule).promoted < on_the_edge


def test_simulated_voters_err_as_the_exact_figures_say() -> None:
    rule = Rule(0.9, 0.5, most=60)
    random = np.random.default_rng(1)
    promoted = 0
    for _ in range(4000):
        wins = losses = 0
        while (decision := decide(wins, losses, rule)) == "open":
            won = random.random() < 0.5
            wins, losses = wins + won, losses + (not won)
        promoted += decision == "better"
    exact = prospect(0.5, rule).promoted
    assert abs(promoted / 4000 - exact) < 4 * math.sqrt(exact * (1 - exact) / 4000)


def test_a_much_better_candidate_is_found() -> None:
    found = prospect(0.75, Rule(0.95, 0.5, most=60))
    assert found.promoted > 0.9
    assert found.pairs < 35


def test_a_rule_out_of_bounds_is_none() -> None:
    with pytest.raises(ValueError, match="confidence"):
        Rule(confidence=1.0)
