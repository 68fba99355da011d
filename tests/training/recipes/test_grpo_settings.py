"""The settings of `grpo`: what cannot go together is refused in plain words, and the papers' files hold their values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.training.conftest import ROOT
from training.config.settings import read_settings
from training.learner.run import changes
from training.recipes.grpo import GrpoSettings

PAPERS = ROOT / "training" / "recipes" / "files" / "papers"
JUDGE = {"url": "https://judge.example", "model": "judge"}


def make(**changes: Any) -> GrpoSettings:
    given: dict[str, Any] = {
        "run_dir": Path("run"),
        "model": Path("model"),
        "data": (Path("data"),),
        "rewards": {"judge": JUDGE},
    }
    return GrpoSettings.model_validate(given | changes)


def test_polaris_is_the_paper() -> None:
    found = read_settings(PAPERS / "polaris.toml", GrpoSettings)
    assert (found.batch, found.group, found.mean_within, found.seed) == (8, 6, 2, 3479)
    assert found.human is not None
    assert (found.human.weight, found.human.ramp, found.human.clamp, found.human.own_count) == (0.4, 15, False, False)
    drawn = found.sampling
    assert (drawn.temperature, drawn.top_p, drawn.top_k, drawn.repetition_penalty, drawn.most_tokens) == (
        1.0,
        0.95,
        20,
        1.1,
        8192,
    )
    assert found.rewards.weights == {"quality": 1.0, "repetition": -1.5, "length": -0.8, "blank": -1.0}
    assert (found.rewards.how, found.rewards.clip, found.rewards.epsilon, found.rewards.min_std) == (
        "weighted",
        2.0,
        1e-6,
        0.0,
    )
    assert (found.learner.learning_rate, found.learner.schedule, found.learner.weight_decay) == (1e-6, "constant", 0.01)


def test_longwriter_zero_is_the_paper() -> None:
    found = read_settings(PAPERS / "longwriter-zero.toml", GrpoSettings)
    assert (found.group, found.steps, found.thinking, found.rewards.how) == (32, 150, "think", "averaged")
    assert found.rewards.weights == {"range": 1.0, "preference": 1.0, "form": 1.0}
    assert (found.sampling.temperature, found.sampling.top_p, found.sampling.most_tokens) == (0.8, 1.0, 14_000)


def test_a_table_of_the_learner_that_says_little_keeps_the_recipes_own_defaults() -> None:
    learner = make(learner={"zero_stage": 3}).learner
    assert (learner.learning_rate, learner.schedule, learner.betas) == (1e-6, "constant", (0.9, 0.999))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rewards": {}}, "the reward quality needs judge"),
        ({"rewards": {"weights": {"principles": 1.0}, "judge": JUDGE}}, "the reward principles needs constitution"),
        ({"rewards": {"weights": {"preference": 1.0}}}, "the reward preference needs preference"),
        ({"rewards": {"weights": {"length": 0.0}}}, "no reward has a weight"),
        ({"rewards": {"weights": {}}}, "at least 1 item"),
        ({"rewards": {"weights": {"charm": 1.0}}}, "there is no reward 'charm': choose from quality, preference"),
        ({"rollouts": {"max_staleness": 1}, "sampling": {"top_p": 0.9}}, "needs the plain softmax"),
        ({"guards": {"judge": JUDGE}}, "the second judge is the first one"),
        ({"group": 1}, "greater than or equal to 2"),
    ],
)
def test_what_cannot_go_together_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        make(**changes)


def test_what_may_change_when_a_run_goes_on() -> None:
    """A server that moved, a larger budget, a looser guard: what results would be the same."""
    before = make(guards={"judge": JUDGE | {"model": "second"}}).model_dump(mode="json")
    moved = JUDGE | {"url": "http://elsewhere", "at_once": 4, "most_money": 50.0}
    after = make(
        rewards={"judge": moved}, rollouts={"url": "http://elsewhere", "gpu_memory": 0.2}, guards={"cut": None}
    )
    assert not [*changes(after.model_dump(mode="json"), before)]
    other = make(
        rewards={"judge": JUDGE | {"model": "other"}}, rollouts={"max_staleness": 1}, sampling={"most_tokens": 64}
    )
    assert {*changes(other.model_dump(mode="json"), before)} == {
        "rewards.judge.model", "rollouts.max_staleness", "sampling.most_tokens",
    }  # fmt: skip
