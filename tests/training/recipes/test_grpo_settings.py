"""The settings of `grpo`: what cannot go together is refused in plain words, and the papers' files hold their values."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.training.conftest import ROOT
from training.common.errors import MendableError
from training.config.settings import read_settings
from training.learner.run import changes, renamed
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
    moved = JUDGE | {"url": "http://elsewhere", "inside": True, "at_once": 4, "most_money": 50.0}
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


BEFORE = """
recipe = "grpo"
run_dir = "run"
model = "model"
data = ["data"]

[rollouts]
agreement = 0.05
behind = 1
truncate = 3.0
revivals = 5

[rewards]
floor = 0.1
longest = 600

[rewards.weights]
range = 1.0
"""


def test_a_settings_file_of_before_is_read_by_the_names_of_then(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(BEFORE)
    found = read_settings(path, GrpoSettings)
    assert found == make(
        rollouts={"logprob_tolerance": 0.05, "max_staleness": 1, "importance_ratio_cap": 3.0, "restarts": 5},
        rewards={"min_std": 0.1, "range": {"longest": 600}, "weights": {"range": 1.0}},
    )
    path.write_text(BEFORE.replace("floor = 0.1", "floor = 0.1\nmin_std = 0.2"))
    with pytest.raises(MendableError, match=r"rewards\.floor: Extra inputs are not permitted"):
        read_settings(path, GrpoSettings)


def test_a_run_of_before_is_resumed() -> None:
    """Its checkpoint holds the settings by the names of then; what really differs is still found."""
    stored = tomllib.loads(BEFORE) | make(rewards={"judge": JUDGE}).model_dump(
        mode="json", exclude={"rollouts", "rewards", "data", "run_dir", "model"}
    )
    now = read(rollouts={"max_staleness": 1, "importance_ratio_cap": 3.0})
    assert not [*changes(now, renamed(stored, GrpoSettings))]
    other = read(rollouts={"max_staleness": 0, "importance_ratio_cap": 3.0}, min_std=0.2)
    assert {*changes(other, renamed(stored, GrpoSettings))} == {"rollouts.max_staleness", "rewards.min_std"}
    assert renamed({"not": "settings"}, GrpoSettings) == {"not": "settings"}


def read(rollouts: dict[str, Any], min_std: float = 0.1) -> dict[str, Any]:
    rewards = {"min_std": min_std, "range": {"longest": 600}, "weights": {"range": 1.0}}
    return make(rollouts=rollouts, rewards=rewards).model_dump(mode="json")


def test_settings_of_a_reward_may_not_change_and_pace_of_judges_may() -> None:
    weights = {"quality": 1.0, "range": 1.0}
    before = make(rewards={"weights": weights, "judge": JUDGE}).model_dump(mode="json")
    after = make(rewards={"weights": weights, "judge": JUDGE | {"seconds": 9.0}, "range": {"longest": 900}})
    assert [*changes(after.model_dump(mode="json"), before)] == ["rewards.range.longest"]
