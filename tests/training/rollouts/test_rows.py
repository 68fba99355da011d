"""The rows of a judged group for the learner: weights, shares, and metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.common.records import Sample
from training.datasets.requests import Request
from training.recipes.grpo import GrpoSettings
from training.rewards.records import StoryScore
from training.rollouts.gather import Group
from training.rollouts.records import Rollout
from training.rollouts.rows import human_rows, score_group

REQUEST = Request(
    ({"role": "user", "content": "Write."},), (1, 2, 3), 100, Sample.from_lists([1, 2, 3, 8, 9], [0, 0, 0, 1, 1]), "So."
)
SIZES = (2, 4, 6)
REWARDS = (0.1, 0.3, 0.5)  # mean .3, deviation .2: -1 0 1


def group(human: float | None = 0.7, rewards: tuple[float | None, ...] = REWARDS) -> Group:
    stories = [Rollout(np.full(size, 5, np.int32), np.full(size, -0.5, np.float32), size != 6, "", 0) for size in SIZES]
    scores = [StoryScore({"length": one}, {"words": 10.0}) for one in rewards]
    return Group(0, REQUEST, stories, scores, None if human is None else StoryScore({"length": human}))


def settings(**changes: Any) -> GrpoSettings:
    given: dict[str, Any] = {
        "run_dir": Path("run"), "model": Path("model"), "data": (Path("data"),),
        "rewards": {"weights": {"length": 1.0}, "epsilon": 1e-9, "min_std": 0.0}, "human": {"ramp": 0, "cap": None, "clamp": False},
    }  # fmt: skip
    return GrpoSettings.model_validate(given | changes)


def weights(row: Any) -> list[float]:
    return [round(float(one), 4) for one in row.sample.weights]


def test_each_token_of_an_answer_has_the_advantage() -> None:
    found = score_group(group(human=None), settings(), 0)
    assert [weights(row) for row in found.rows] == [
        [0, 0, 0, -1, -1],
        [0, 0, 0, 1, 1, 1, 1, 1, 1],
    ]  # that of 0 has no row
    assert found.count == 12  # but is counted
    assert [row.sampled.tolist() for row in found.rows] == [[-0.5] * 2, [-0.5] * 6]


def test_a_human_story_is_apart_with_a_count_of_its_own() -> None:
    """(.7 - .3) / .2 = 2, times .4 = .8. Its two tokens are the mean of themselves: .8 x 12 / 2 each, once the step is divided by 12."""
    found = score_group(group(), settings(), 0)
    assert found.count == 12
    assert found.human is not None
    assert weights(found.human) == [0, 0, 0, 0.8, 0.8]
    (row,) = human_rows([found], found.count)
    assert weights(row) == [0, 0, 0, 4.8, 4.8]
    assert np.isnan(row.sampled).all()


def test_in_polaris_a_human_story_is_a_row_like_the_others() -> None:
    found = score_group(group(), settings(human={"ramp": 0, "cap": None, "clamp": False, "own_count": False}), 0)
    assert found.human is None
    assert [weights(row) for row in found.rows][-1] == [0, 0, 0, 0.8, 0.8]
    assert found.count == 14


def test_polaris_mean_within_two_stories() -> None:
    """Stories 1 and 2 have 6 tokens together, 3 and the human one 8; two parts."""
    given = settings(human={"ramp": 0, "cap": None, "clamp": False, "own_count": False}, mean_within=2)
    found = score_group(group(), given, 0)
    assert [weights(row) for row in found.rows] == [
        [0, 0, 0, -0.1667, -0.1667],
        [0, 0, 0, *[0.125] * 6],
        [0, 0, 0, 0.1, 0.1],
    ]
    assert found.count == 2


@pytest.mark.parametrize(
    ("human", "changes", "weight", "clamped"),
    [
        (0.7, {}, 0.8, 0),  # .4 x 2
        (0.7, {"cap": 1.5}, 0.6, 0),  # .4 x 1.5
        (0.1, {}, -0.4, 0),  # unlearned, as in POLARIS
        (0.1, {"cap": 0.5}, -0.2, 0),  # .4 x -.5: the cap holds below 0 too
        (0.1, {"clamp": True}, None, 1),
        (0.3, {}, None, 0),  # as good as the policy's mean
    ],
)
def test_cap_and_clamp(human: float, changes: dict[str, Any], weight: float | None, clamped: int) -> None:
    found = score_group(group(human), settings(human={"ramp": 0, "cap": None, "clamp": False} | changes), 0)
    rows = human_rows([found], 2.0)
    assert [weights(row)[-1] for row in rows] == ([] if weight is None else [weight])
    assert found.metrics["human_clamped"] == clamped
    assert found.metrics["human_advantage"] == pytest.approx((human - 0.3) / 0.2)


def test_the_weight_grows() -> None:
    given = settings(human={"ramp": 10, "cap": None, "clamp": False})
    assert [weights(score_group(group(), given, step).human)[-1] for step in (1, 5, 10, 20)] == [0.08, 0.4, 0.8, 0.8]


def test_what_could_not_be_scored_is_no_part_of_the_mean() -> None:
    """Of .1 and .5 the mean is .3, the deviation .2828: -.7071 and .7071."""
    found = score_group(group(human=None, rewards=(0.1, None, 0.5)), settings(), 0)
    assert [weights(row)[-1] for row in found.rows] == [-0.7071, 0.7071]
    assert found.count == 8
    assert found.metrics["absent"] == 1
    assert (found.metrics["reward_length"], found.metrics["of_reward_length"]) == pytest.approx((0.6, 2))


def test_a_group_in_which_nothing_can_be_compared_gives_nothing() -> None:
    found = score_group(group(rewards=(None, None, 0.5)), settings(), 0)
    assert (found.rows, found.human, found.count) == ([], None, 0)
    assert found.metrics["absent"] == 3


def test_metrics() -> None:
    metrics = score_group(group(), settings(), 0).metrics
    assert metrics["stories"] == 3
    assert metrics["cut"] == 1
    assert metrics["surprise"] == pytest.approx(6.0)
    assert metrics["tokens_drawn"] == 12
    assert (metrics["words"], metrics["of_words"]) == (30, 3)
    assert metrics["reward"] == pytest.approx(0.9)
