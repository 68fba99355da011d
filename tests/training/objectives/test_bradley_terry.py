"""The grades of a comparison form a distribution that agrees with the textbook models."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.objectives.bradley_terry import bradley_terry_losses, graded_losses

differences = st.floats(-30, 30)
rising = st.lists(st.floats(0.05, 3), min_size=1, max_size=3).map(
    lambda gaps: tuple(sum(gaps[: n + 1]) for n in range(len(gaps)))
)


def probability(difference: float, strength: int, thresholds: tuple[float, ...]) -> float:
    return math.exp(-graded_losses(torch.tensor([difference]).double(), torch.tensor([strength]), thresholds).item())


@given(difference=differences, thresholds=rising)
def test_all_grades_of_both_sides_and_the_tie_add_up_to_one(difference: float, thresholds: tuple[float, ...]) -> None:
    grades = range(1, len(thresholds) + 1)
    total = probability(difference, 0, thresholds)
    total += sum(probability(side * difference, grade, thresholds) for grade in grades for side in (1, -1))
    assert total == pytest.approx(1, abs=1e-9)


@given(difference=st.floats(-8, 8), threshold=st.floats(0.05, 3))
def test_one_threshold_is_rao_and_kupper(difference: float, threshold: float) -> None:
    theta, better, worse = math.exp(threshold), math.exp(difference), 1.0
    assert probability(difference, 1, (threshold,)) == pytest.approx(better / (better + theta * worse), rel=1e-6)
    tie = (theta**2 - 1) * better * worse / ((better + theta * worse) * (worse + theta * better))
    assert probability(difference, 0, (threshold,)) == pytest.approx(tie, rel=1e-6)


@given(difference=differences, thresholds=rising, strength=st.integers(0, 5))
def test_gradients_are_finite_and_pull_the_right_way(
    difference: float, thresholds: tuple[float, ...], strength: int
) -> None:
    value = torch.tensor([difference], requires_grad=True)
    loss = graded_losses(value, torch.tensor([strength]), thresholds).sum()
    loss.backward()
    assert value.grad is not None
    assert torch.isfinite(loss)
    assert torch.isfinite(value.grad).all()
    if strength == 0:  # towards 0
        assert value.grad.item() * difference >= -1e-6
    elif strength >= len(thresholds):  # away from 0, without limit
        assert value.grad.item() <= 1e-6


def test_a_strong_preference_needs_a_larger_difference_than_a_weak_one() -> None:
    value = torch.full((2,), 2.0, requires_grad=True)
    graded_losses(value, torch.tensor([1, 2]), (0.5, 1.5)).sum().backward()
    assert value.grad is not None
    weak, strong = value.grad.tolist()
    assert strong < 0 < weak  # a difference of 2 is above the range of "better" and below that of "much better"


def test_plain_losses_at_known_points() -> None:
    zero, one = torch.zeros(1), torch.ones(1)
    assert bradley_terry_losses(zero, one, zero).item() == pytest.approx(math.log(2))
    assert bradley_terry_losses(3 * one, one, 3 * one).item() == pytest.approx(math.log(2))
    tie = bradley_terry_losses(torch.tensor([-2.0, 0.0, 2.0]), torch.full((3,), 0.5), torch.zeros(3))
    assert tie.argmin() == 1
    assert tie[0] == tie[2]
