from __future__ import annotations

import math

import numpy as np
import pytest

from training.evaluate.ratings import Comparison, connected, rate


def drawn(
    strengths: list[float], number: int, *, ties: float = 0.0, length: float = 0.0, seed: int = 3
) -> list[Comparison]:
    """Comparisons by the model itself, with known parameters."""
    random = np.random.default_rng(seed)
    found = []
    for group in range(number):
        first, second = random.choice(len(strengths), size=2, replace=False).tolist()
        longer = float(random.normal())
        half = (strengths[first] - strengths[second] + length * longer) / 2
        weights = np.array([math.exp(half), math.exp(-half), ties])
        outcome = [1, -1, 0][random.choice(3, p=weights / weights.sum())]
        found.append(Comparison(first, second, outcome, longer, group))
    return found


def test_what_was_put_in_comes_out() -> None:
    strengths = [0.8, 0.1, -0.3, -0.6]
    found = rate(4, drawn(strengths, 20_000, ties=0.5, length=0.4), with_length=True)
    assert found.values == pytest.approx(strengths, abs=0.06)
    assert found.length == pytest.approx(0.4, abs=0.05)
    assert found.ties == pytest.approx(0.5, abs=0.05)


def test_length_alone_makes_nobody_better() -> None:
    """One writes twice as long, and judges like length: without the covariate it looks better, with it it does not."""
    random = np.random.default_rng(5)
    comparisons = []
    for group in range(4000):
        longer = float(random.normal(0.7, 0.5))
        won = random.random() < 1 / (1 + math.exp(-1.5 * longer))
        comparisons.append(Comparison(0, 1, 1 if won else -1, longer, group))
    assert rate(2, comparisons).values[0] > 0.3
    assert rate(2, comparisons, with_length=True).values[0] == pytest.approx(0, abs=0.15)


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    strengths = [0.4, 0.0, -0.4]
    held = 0
    for seed in range(40):
        found = rate(3, drawn(strengths, 150, ties=0.3, seed=seed), resamples=120)
        held += found.low[0] <= 0.4 <= found.high[0]
    assert held >= 33  # of 40; 95 % are 38


def test_whoever_won_everything_has_a_finite_rating() -> None:
    found = rate(2, [Comparison(0, 1, 1)] * 9)
    assert 3 < found.values[0] < 50
    assert found.values[0] == -found.values[1]


def test_only_ties() -> None:
    assert rate(2, [Comparison(0, 1, 0)] * 9).values == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.parametrize(
    ("contestants", "outcomes", "said"),
    [
        (2, [(0, 1, 1)] * 9, False),
        (2, [(0, 1, -1)] * 9, False),
        (2, [(0, 1, 1), (0, 1, -1)], True),
        (2, [(0, 1, 1), (1, 0, 1)], True),
        (2, [(0, 1, 1)] * 7 + [(0, 1, 0)], False),
        (2, [(0, 1, 0)] * 9, False),
        (2, [], False),
        (3, [(0, 1, 1), (1, 2, 1), (2, 0, 1)], True),
        (3, [(0, 1, 1), (1, 0, 1)], False),  # nobody met the third
        (4, [(0, 1, 1), (1, 0, 1), (2, 3, 1), (3, 2, 1), (0, 2, 1), (1, 3, 1)], False),  # two have beaten two
        (4, [(0, 1, 1), (1, 0, 1), (2, 3, 1), (3, 2, 1), (0, 2, 1), (3, 1, 1)], True),
    ],
)
def test_connected(contestants: int, outcomes: list[tuple[int, int, int]], said: bool) -> None:
    assert connected(contestants, [Comparison(*one) for one in outcomes]) is said


def test_ratings_are_finite_just_where_they_are_connected() -> None:
    """A prior ten thousand times weaker moves the ratings where the likeliest ones are not finite, also where a tie hides it."""

    def moved(comparisons: list[Comparison]) -> float:
        weak, strong = (rate(2, comparisons, prior=prior).values[0] for prior in (1e-9, 1e-5))
        return weak - strong

    won, lost, tied = Comparison(0, 1, 1), Comparison(0, 1, -1), Comparison(0, 1, 0)
    for comparisons in ([won] * 7, [won] * 7 + [tied]):
        assert not connected(2, comparisons)
        assert moved(comparisons) > 2
    assert connected(2, [won] * 7 + [lost])
    assert moved([won] * 7 + [lost]) == pytest.approx(0, abs=0.01)
