"""Advantages from rewards."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.rewards.combine import Rewards, advantages, total
from training.rewards.settings import Combining
from training.rollouts.settings import HumanSettings


def combining(how: str, weights: dict[str, float], **changes: float) -> Combining:
    """As in the papers, which have no least deviation."""
    given = {"how": how, "weights": weights, "clip": None, "min_std": 0.0}
    return Combining.model_validate(given | changes)


POLARIS = combining("weighted", {"quality": 1.0, "length": -0.8}, clip=2.0)
QUALITY, LENGTH = (0.52, 0.48, 0.60, 0.44, 0.56), (0.0, 0.0, 0.2, 0.1, 0.0)
GROUP: list[Rewards] = [{"quality": q, "length": p} for q, p in zip(QUALITY, LENGTH, strict=True)]


def test_polaris_worked_by_hand() -> None:
    """R = .52 .48 .44 .36 .56; mean .472; squares .002304 .000064 .001024 .012544 .007744, sum .02368; / 4 = .00592, root .076942."""
    found = advantages(GROUP, {"quality": 0.70, "length": 0.0}, POLARIS)
    assert found.policy == pytest.approx([0.6238, 0.1040, -0.4159, -1.4556, 1.1437], abs=1e-4)
    assert found.human == pytest.approx(2.9632, abs=1e-4)  # (.70 - .472) / .076943
    assert found.deviation == pytest.approx(0.076942, abs=1e-6)


def test_longwriter_worked_by_hand() -> None:
    """Two rewards of three stories: .2 .4 .6 (mean .4, deviation .2: -1 0 1) and 1 0 1 (mean .6667, deviation .57735: .57735 -1.1547 .57735)."""
    how = combining("averaged", {"range": 1.0, "form": 1.0}, epsilon=1e-12)
    group: list[Rewards] = [{"range": 0.2, "form": 1.0}, {"range": 0.4, "form": 0.0}, {"range": 0.6, "form": 1.0}]
    assert advantages(group, None, how).policy == pytest.approx([-0.21132, -0.57735, 0.78868], abs=1e-5)


def test_a_penalty_is_turned_about_where_advantages_are_averaged() -> None:
    how = combining("averaged", {"quality": 1.0, "repetition": -1.0})
    group: list[Rewards] = [{"quality": 0.5, "repetition": 0.9}, {"quality": 0.5, "repetition": 0.1}]
    worse, better = advantages(group, None, how).policy
    assert worse is not None
    assert better is not None
    assert worse < 0 < better


def test_what_could_not_be_scored_does_not_vote() -> None:
    absent: Rewards = {"quality": None, "length": 0.0}
    alone = advantages(GROUP, None, POLARIS).policy
    assert advantages([GROUP[0], absent, *GROUP[1:]], None, POLARIS).policy == [alone[0], None, *alone[1:]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e300])
@pytest.mark.parametrize(
    "how", [POLARIS, combining("averaged", {"quality": 1.0, "length": -0.8}), combining("weighted", {"quality": 1.0})]
)
def test_what_is_no_number_does_not_vote(how: Combining, bad: float) -> None:
    odd: Rewards = {"quality": bad, "length": 0.0}
    alone = advantages(GROUP, None, how).policy
    found = advantages([GROUP[0], odd, *GROUP[1:]], odd, how)
    assert found.policy == [alone[0], None, *alone[1:]]
    assert found.human is None


def test_a_human_story_does_not_vote() -> None:
    without, low, high = (
        advantages(GROUP, human, POLARIS).policy
        for human in (None, {"quality": -1.0, "length": 1.0}, {"quality": 1.0, "length": 0.0})
    )
    assert without == low == high


def test_a_human_story_that_could_not_be_scored_has_no_advantage() -> None:
    assert advantages(GROUP, {"quality": None, "length": 0.0}, POLARIS).human is None


def test_equal_rewards_are_no_advantage() -> None:
    assert advantages([GROUP[0]] * 5, None, POLARIS).policy == [0.0] * 5


@pytest.mark.parametrize("scored", [0, 1])
def test_fewer_than_two_leave_nothing_to_compare(scored: int) -> None:
    absent: Rewards = {"quality": None, "length": 0.0}
    group = [*GROUP[:scored], *[absent] * (5 - scored)]
    found = advantages(group, GROUP[0], POLARIS)
    assert (found.policy, found.human, found.deviation) == ([None] * 5, None, None)


def test_a_least_deviation_holds_small_differences_small() -> None:
    """Deviation .001 and a least one of .05: .001 / .05 = .02, not 1; and a human story .1 better has 2, not 100."""
    group: list[Rewards] = [
        {"quality": 0.5, "length": 0.0},
        {"quality": 0.501, "length": 0.0},
        {"quality": 0.502, "length": 0.0},
    ]
    bounded = combining("weighted", {"quality": 1.0}, min_std=0.05)
    found = advantages(group, {"quality": 0.601}, bounded)
    assert found.policy == pytest.approx([-0.02, 0.0, 0.02], abs=1e-4)
    assert found.human == pytest.approx(2.0, abs=1e-3)


def test_the_sum_is_clipped() -> None:
    how = combining("weighted", {"quality": 1.0, "repetition": -1.5}, clip=2.0)
    assert total({"quality": -1.59, "repetition": 1.5}, how) == -2.0
    assert total({"quality": 1.0, "repetition": 0.2, "length": 9.0}, how) == pytest.approx(0.7)


@given(st.lists(st.floats(-2, 2), min_size=2, max_size=12))
def test_advantages_have_the_mean_nothing(values: list[float]) -> None:
    found = advantages([{"quality": one} for one in values], None, combining("weighted", {"quality": 1.0})).policy
    assert math.fsum(one for one in found if one is not None) == pytest.approx(0.0, abs=1e-6)


class TestHumanReference:
    def test_polaris_has_neither_cap_nor_clamp(self) -> None:
        plain = HumanSettings(cap=None, clamp=False)
        assert plain.bounded(-7.0) == (-7.0, False)
        assert plain.bounded(1e6) == (1e6, False)

    def test_ours_has_both(self) -> None:
        ours = HumanSettings(cap=3.0, clamp=True)
        assert ours.bounded(-7.0) == (0.0, True)
        assert ours.bounded(1e6) == (3.0, False)
        assert ours.bounded(1.0) == (1.0, False)

    def test_the_ramp(self) -> None:
        """POLARIS counts steps from 1: 0.4 min(1, (step - 1) / 15)."""
        assert [HumanSettings(cap=None, clamp=False).weight_at(step) for step in (0, 3, 15, 172)] == pytest.approx(
            [0, 0.08, 0.4, 0.4]
        )
        assert HumanSettings(ramp=0).weight_at(0) == 0.4
