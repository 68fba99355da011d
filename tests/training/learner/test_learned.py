"""A run that learned nothing is a failed run, whatever its recipe; the rest of an epoch is learned too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training import models
from tests.training.recipes.runs import RECIPES, Name, make_settings, max_difference
from training.common.errors import MendableError
from training.common.events import read_events
from training.common.records import Ended, LogLine, Sample
from training.learner.learned import FIRST_STEPS, LearnedGuard
from training.learner.run import batches_of, steps_of
from training.recipes.grpo import GrpoSettings
from training.recipes.grpo.loop import grpo
from training.recipes.pretrain.loop import batches_by_tokens
from training.rewards.records import StoryScore
from training.rollouts.records import Dump, Rollout, step_name


def ended(run: Path) -> Ended:
    return [one for one in read_events(run / "events.jsonl") if isinstance(one, Ended)][-1]


def without_head(model: Path) -> None:
    """All tokens are equally likely, whatever the layers below say: no gradient reaches the adapters."""
    path = model / "model.safetensors"
    tensors = load_file(path)
    tensors["lm_head.weight"] = torch.zeros_like(tensors["lm_head.weight"])
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["pretrain", "sft", "dpo"])
def test_a_run_whose_gradients_are_0_ends_as_failed(name: Name, tmp_path: Path) -> None:
    settings = make_settings(name, tmp_path, steps=2, checkpoint_every=1, learner={"lora": {"rank": 2}})
    without_head(settings.model)
    for _ in range(2):  # started again, it says the same
        with pytest.raises(MendableError, match="The run learned nothing: the gradient of each of its 2 steps was 0"):
            RECIPES[name](settings)
        assert (ended(settings.run_dir).outcome, "learned nothing" in ended(settings.run_dir).reason) == (
            "failed",
            True,
        )
        assert not (settings.run_dir / "model").exists()


def test_a_learning_rate_of_0_is_a_choice_and_said(tmp_path: Path) -> None:
    settings = make_settings("sft", tmp_path, steps=2, learner={"learning_rate": 0.0})
    model = RECIPES["sft"](settings)
    assert model is not None
    assert max_difference(settings.model, model) == 0
    lines = [one.text for one in read_events(settings.run_dir / "events.jsonl") if isinstance(one, LogLine)]
    assert "The learning rate is 0, so the weights stay as they are." in lines


def test_a_long_run_ends_after_its_first_steps_and_names_the_reason() -> None:
    guard = LearnedGuard()
    for _ in range(FIRST_STEPS - 1):
        guard.count(0.0, "no judge answers")
    with pytest.raises(MendableError, match=f"each of its {FIRST_STEPS} steps was 0, because no judge answers"):
        guard.count(0.0)
    guard = LearnedGuard(done=100, steps=1)
    for _ in range(2 * FIRST_STEPS):
        guard.count(0.0)
    guard.check_end()
    LearnedGuard().check_end()


def replayed(folder: Path, rewards: list[float | None], steps: int, **changes: Any) -> GrpoSettings:
    """Settings of `grpo` on stories that are there already, with the same rewards in each group."""
    model = models.save(models.random_model("qwen3"), folder / "model")
    lines = [{"messages": [{"role": "user", "content": f"Write {number}."}]} for number in range(2)]
    for step in range(steps):
        dump = Dump(folder / "rollouts" / f"{step_name(step)}.jsonl")
        for story, reward in enumerate(rewards):
            tokens = np.asarray([5 + story, 6, 7], np.int32)
            dump.add_story((0, story), Rollout(tokens, np.zeros(3, np.float32), True, "A story.", step))
            dump.add_score((0, story), StoryScore({"repetition": reward}))
        dump.close()
    given: dict[str, Any] = {
        "run_dir": folder / "run", "model": model, "data": (models.write_lines(folder / "data.jsonl", lines),), "context": 64, "steps": steps,
        "batch": 1, "group": len(rewards), "human": None, "replay": folder / "rollouts", "rewards": {"weights": {"repetition": 1.0}},
        "learner": {"precision": "float32", "threads": 1, "learning_rate": 1e-3, "gradient_checkpointing": False}, "guards": {"entropy": None},
    }  # fmt: skip
    return GrpoSettings.model_validate(given | changes)


@pytest.mark.parametrize(
    ("rewards", "steps", "says"),
    [
        ([None, None, None], 2, "each of its 2 steps was 0, because stories have no repetition"),
        ([None, None, 0.5], 2, "each of its 2 steps was 0, because stories have no repetition"),
        ([float("nan"), float("inf"), None], 2, "because stories have no repetition"),
        ([0.5, 0.5, 0.5], 2, "because the stories of each group had the same rewards"),
        (
            [None, None, None],
            4,
            "step 3: the share of stories that could not be scored is 1, and 0.5 is the most, because stories have no repetition",
        ),
    ],
)
def test_grpo_without_anything_to_compare_ends_as_failed(
    tmp_path: Path, rewards: list[float | None], steps: int, says: str
) -> None:
    settings = replayed(tmp_path, rewards, steps)
    with pytest.raises(MendableError) as failed:
        grpo(settings)
    assert says in str(failed.value)
    assert ended(settings.run_dir).outcome == "failed"
    assert not (settings.run_dir / "model").exists()


def test_some_that_are_absent_are_reported_and_the_others_learned(tmp_path: Path) -> None:
    settings = replayed(tmp_path, [0.1, None, 0.9], 2)
    assert grpo(settings) is not None
    values = [event.values for event in read_events(settings.run_dir / "events.jsonl") if event.kind == "metrics"]
    assert [one["absent_repetition"] for one in values] == pytest.approx([1 / 3, 1 / 3])


def test_the_last_step_of_an_epoch_takes_the_rest(tmp_path: Path) -> None:
    settings = make_settings("sft", tmp_path, steps=None, epochs=2.0)
    take, per_epoch = batches_of(7, 3, settings)
    assert (per_epoch, steps_of(settings, per_epoch)) == (3, 6)
    for epoch in range(2):
        taken = [take(3 * epoch + step) for step in range(3)]
        assert [len(one) for one in taken] == [3, 3, 1]
        assert sorted(number for one in taken for number in one) == list(range(7))
    assert batches_of(6, 3, settings)[1] == 2


def test_pretraining_reads_the_whole_epoch(tmp_path: Path) -> None:
    settings = make_settings("pretrain", tmp_path, batch_tokens=100)
    examples = [(Sample(np.zeros(40, np.int32), np.ones(40, np.float32)),) for _ in range(7)]
    take, per_epoch = batches_by_tokens(examples, settings)
    assert per_epoch == 4
    for epoch in range(2):
        assert sorted(number for step in range(4) for number in take(4 * epoch + step)) == list(range(7))
