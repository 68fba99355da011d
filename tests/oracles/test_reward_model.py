"""Our reward model against TRL's trainer, and its graded loss against the textbook's probabilities."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import RewardConfig, RewardTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference

from tests.oracles import peers
from tests.training import models
from training.datasets.encoding import Pairs
from training.recipes.pairs import learn_pairs
from training.recipes.reward_model import RewardModelSettings
from training.recipes.reward_model.loop import reward_pair_loss


def trl_loss(model: Any, some: Pairs, folder: Path, center: float | None, margins: bool) -> torch.Tensor:
    tokenizer = peers.fast_tokenizer(folder)
    config = RewardConfig(**peers.trl_settings(folder / "trl"), center_rewards_coefficient=center)
    trainer = RewardTrainer(model, args=config, train_dataset=peers.one_row("pair"), processing_class=tokenizer)
    rows: list[dict[str, Any]] = [
        {"chosen_ids": chosen.tokens.tolist(), "rejected_ids": rejected.tokens.tolist()}
        for chosen, rejected in some.examples
    ]
    if margins:
        rows = [row | {"margin": margin} for row, margin in zip(rows, some.margins)]
    loss: torch.Tensor = trainer.compute_loss(model, DataCollatorForPreference(tokenizer.pad_token_id)(rows))
    return loss


@pytest.mark.parametrize("kind", models.KINDS)
@pytest.mark.parametrize(("center", "margin"), [(None, 0.0), (0.1, 0.7)])
def test_loss_and_gradients_are_trls(kind: models.Kind, center: float | None, margin: float, tmp_path: Path) -> None:
    some = peers.some_pairs(tmp_path, margin=margin)
    model = peers.reward_model(kind)
    ours = peers.learner(model, tokens_per_micro_batch=600)
    settings = RewardModelSettings(run_dir=tmp_path, model=tmp_path, data=(Path(),), center=center or 0.0)
    loss = learn_pairs(ours, some, range(len(some.examples)), reward_pair_loss(ours, some, settings))["loss"]
    peer = copy.deepcopy(model)
    theirs = trl_loss(peer, some, tmp_path, center, bool(margin))
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), rel=peers.TOLERANCE)
    assert peers.far(peers.gradients(ours.model), peers.gradients(peer)) == {}


@pytest.mark.parametrize("kind", models.KINDS)
def test_rewards_are_plain_transformers(kind: models.Kind, tmp_path: Path) -> None:
    some = peers.some_pairs(tmp_path)
    model = peers.reward_model(kind)
    ours = peers.learner(model)
    rewards = {
        number: answer
        for numbers, _, answers in ours.infer(some.examples)
        for number, answer in zip(numbers, answers.view(-1, 2))
    }
    for number, example in enumerate(some.examples):
        for reward, sample in zip(rewards[number], example):
            theirs = model(input_ids=torch.from_numpy(sample.tokens).long()[None]).logits[0, 0]
            assert reward.item() == pytest.approx(theirs.item(), rel=peers.TOLERANCE, abs=1e-6)
