"""Our advantages, loss and gradients against TRL's GRPOTrainer on the same groups: the same tokens, the same rewards, without a human story."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from tests.oracles import peers
from tests.training import models
from tests.training.conftest import made_up_story
from training.datasets.requests import Request, read_requests
from training.recipes.grpo import GrpoSettings
from training.recipes.grpo.loop import Step
from training.rewards.records import StoryScore
from training.rollouts.gather import Group
from training.rollouts.records import Rollout
from training.test_model.tokenizer import END

STORIES = 4
REWARDS = ((0.1, 0.9, 0.4, 0.35), (0.2, 0.2, 0.2, 0.8))


def settings(folder: Path, **changes: Any) -> GrpoSettings:
    given: dict[str, Any] = {
        "run_dir": folder / "run", "model": folder / "model", "data": (folder / "data.jsonl",), "group": STORIES, "batch": 2, "human": None,
        "rewards": {"weights": {"length": 1.0}, "epsilon": 1e-4, "min_std": 0.0, "clip": None},
    }  # fmt: skip
    return GrpoSettings.model_validate(given | changes)


@pytest.fixture
def requests(tmp_path: Path) -> list[Request]:
    lines = [
        {"messages": [{"role": "user", "content": f"Write about {what}."}]}
        for what in ("a lamp", "two ships and the sea")
    ]
    path = models.write_lines(tmp_path / "data.jsonl", lines)
    return read_requests([path], peers.encoder(tmp_path / "tokenizer"), thinking="none", room=2048)


def stories(seed: int) -> list[Rollout]:
    """Of unlike lengths; one was cut."""
    tokenizer = models.tokenizer()
    end = tokenizer.token_to_id(END)
    found = []
    for number in range(STORIES):
        tokens = tokenizer.encode(made_up_story(10 * seed + number, 1 + 2 * number)).ids + ([end] if number else [])
        found.append(Rollout(np.asarray(tokens, np.int32), np.zeros(len(tokens), np.float32), bool(number), "", 0))
    return found


def groups(requests: list[Request], rewards: tuple[tuple[float | None, ...], ...] = REWARDS) -> list[Group]:
    return [
        Group(number, one, stories(number), [StoryScore({"length": one}) for one in rewards[number]], None)
        for number, one in enumerate(requests)
    ]


def our_step(model: Any, found: list[Group], given: GrpoSettings, **changes: Any) -> tuple[float, peers.Gradients]:
    """The loss, and gradients as the engine has them before it clips."""
    ours = peers.learner(model, **changes)
    step = Step(ours, given, 0)
    for group in found:
        step.take(group)
    step.end()
    gradients = {name: one / step.count for name, one in peers.gradients(ours.model).items()}
    return step.shares["loss"], gradients


def trl_step(
    model: Any, found: list[Group], folder: Path, loss_type: str = "dapo"
) -> tuple[list[float], float, peers.Gradients]:
    """Advantages, loss and gradients of TRL's own code, from the rollouts on."""
    tokens = [story.tokens.tolist() for group in found for story in group.stories]
    prompts = [list(group.request.tokens) for group in found for _ in group.stories]
    rewards = [score.rewards["length"] for group in found for score in group.scores]
    rows = [{"prompt": list(group.request.prompt)} for group in found for _ in group.stories]

    def rollout(_: Any, __: Any) -> dict[str, Any]:
        return {"prompt_ids": prompts, "completion_ids": tokens, "logprobs": [[0.0] * len(one) for one in tokens]}

    given = peers.trl_settings(folder / "trl")
    given.pop("max_length")
    config = GRPOConfig(
        **given | {"per_device_train_batch_size": len(tokens)}, num_generations=STORIES, max_completion_length=4096, beta=0.0, loss_type=loss_type,
        epsilon=0.2, epsilon_high=0.28, mask_truncated_completions=False,
    )  # fmt: skip
    peer = copy.deepcopy(model)
    trainer = GRPOTrainer(
        peer, reward_funcs=[lambda completions, **_: rewards], args=config, train_dataset=Dataset.from_list(rows[:1] * STORIES),
        processing_class=peers.fast_tokenizer(folder), rollout_func=rollout,
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    inputs = trainer._generate_and_score_completions(rows)
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    return inputs["advantages"].tolist(), loss.item(), peers.gradients(trainer.model)


@pytest.fixture(autouse=True)
def silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")


@pytest.mark.parametrize("kind", models.KINDS)
def test_loss_and_gradients_are_trls(kind: models.Kind, requests: list[Request], tmp_path: Path) -> None:
    model = models.random_model(kind)
    found = groups(requests)
    loss, gradients = our_step(model, found, settings(tmp_path))
    _, theirs, their_gradients = trl_step(model, found, tmp_path)
    assert loss == pytest.approx(theirs, rel=peers.TOLERANCE)
    assert peers.far(gradients, their_gradients) == {}


def test_a_story_that_could_not_be_scored_is_trls_too(requests: list[Request], tmp_path: Path) -> None:
    """TRL leaves it out of the mean and the deviation; its tokens it counts, we do not."""
    model = models.random_model("qwen3")
    found = groups(requests, ((0.1, None, 0.4, 0.35), REWARDS[1]))
    loss, gradients = our_step(model, found, settings(tmp_path))
    _, theirs, their_gradients = trl_step(model, found, tmp_path)
    everything = sum(len(story.tokens) for group in found for story in group.stories)
    share = everything / (everything - len(found[0].stories[1].tokens))
    assert loss == pytest.approx(theirs * share, rel=peers.TOLERANCE)
    assert peers.far(gradients, {name: one * share for name, one in their_gradients.items()}) == {}


def test_polaris_mean_within_two_stories(requests: list[Request], tmp_path: Path) -> None:
    """Worked by hand: the mean of -A over the tokens of stories 1 and 2, of 3 and 4, and so on, and the mean of those means."""
    found = groups(requests)
    loss, _ = our_step(models.random_model("qwen3"), found, settings(tmp_path, mean_within=2))
    parts = []
    for group, rewards in zip(found, REWARDS, strict=True):
        mean, deviation = np.mean(rewards), np.std(rewards, ddof=1)
        advantages = [float((one - mean) / (deviation + 1e-4)) for one in rewards]
        sizes = [len(story.tokens) for story in group.stories]
        for first in (0, 2):
            both = slice(first, first + 2)
            parts.append(-sum(a * n for a, n in zip(advantages[both], sizes[both], strict=True)) / sum(sizes[both]))
    assert loss == pytest.approx(float(np.mean(parts)), rel=1e-5)


@pytest.mark.parametrize(
    "changes", [{"tokens_per_micro_batch": 1}, {"tokens_per_micro_batch": 10**6}, {"packing": "off"}]
)
def test_how_it_is_divided_changes_nothing(requests: list[Request], tmp_path: Path, changes: dict[str, Any]) -> None:
    model, found = models.random_model("qwen3"), groups(requests)
    loss, gradients = our_step(model, found, settings(tmp_path))
    other, others = our_step(model, list(reversed(found)), settings(tmp_path), **changes)
    assert loss == pytest.approx(other, rel=1e-6)
    assert peers.far(gradients, others) == {}


def test_equal_rewards_give_no_gradient(requests: list[Request], tmp_path: Path) -> None:
    loss, gradients = our_step(
        models.random_model("qwen3"), groups(requests, ((0.4,) * 4, (0.7,) * 4)), settings(tmp_path)
    )
    assert loss == 0.0
    assert not any(one.any() for one in gradients.values())


def test_a_group_of_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        settings(tmp_path, group=1)
    with pytest.raises(ValueError, match="two stories of the model, to compare, and one human"):
        settings(tmp_path, group=2, human={})


def test_stories_a_step_behind_are_weighed(requests: list[Request], tmp_path: Path) -> None:
    """Drawn with e^-0.5 of today's probability: each token counts e^0.5; with e^-2 it counts 2, the most."""
    model = models.random_model("qwen3")
    plain, gradients = our_step(model, groups(requests), settings(tmp_path))
    now = peers.learner(model)
    for drawn, factor in ((0.5, float(torch.tensor(0.5).exp())), (2.0, 2.0)):
        found = []
        for group in groups(requests):
            kept = []
            for story in group.stories:
                sample = np.concatenate([np.asarray(group.request.tokens, np.int32), story.tokens])
                logprobs = _logprobs(now, sample)[len(group.request.tokens) - 1 :]
                kept.append(Rollout(story.tokens, (logprobs - drawn).astype(np.float32), story.ended, "", 0))
            found.append(Group(group.number, group.request, kept, group.scores, None))
        behind = settings(tmp_path, rollouts={"max_staleness": 1, "importance_ratio_cap": 2.0})
        loss, others = our_step(model, found, behind)
        assert loss == pytest.approx(plain * factor, rel=1e-4)
        assert (
            max(
                ((others[name] - one * factor).norm() / one.norm().clamp(min=1e-6)).item()
                for name, one in gradients.items()
            )
            < 1e-3
        )


def _logprobs(learner: Any, tokens: Any) -> Any:
    from training.learner.probe import learner_logprobs

    return learner_logprobs(learner, tokens)
