"""A reward model: a number for a text, higher for what the editors prefer (Bradley-Terry, with strengths and ties)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from training.datasets.encoding import Pairs, fingerprint
from training.learner.batches import Batch
from training.learner.engine import Learner
from training.learner.finish import finish
from training.learner.run import Run, batches_of, steps_of
from training.objectives.bradley_terry import bradley_terry_losses, graded_losses
from training.recipes.pairs import PairLoss, held_out_pairs, learn_pairs, load_pairs
from training.recipes.reward_model import RewardModelSettings


def reward_model(settings: RewardModelSettings) -> Path | None:
    """Train, or resume training. Returns the folder of the model, or None if the run was asked to stop before its last step."""
    with Run(settings) as run:
        train, held_out = load_pairs(run, settings, reward=True)
        take, per_epoch = batches_of(len(train.examples), settings.batch, settings)
        learner = run.load_learner(reward=True)
        pair_loss, held_out_pair_loss = (reward_pair_loss(learner, some, settings) for some in (train, held_out))
        evaluate = held_out_pairs(learner, held_out, held_out_pair_loss)
        for step in run.steps(learner, steps_of(settings, per_epoch), fingerprint(train.examples), evaluate):
            run.log_step(step, learn_pairs(learner, train, take(step), pair_loss))
        return finish(run, learner)


def reward_pair_loss(learner: Learner, some: Pairs, settings: RewardModelSettings) -> PairLoss:
    """Return the loss function of `some` pairs, from the rewards of their texts."""
    label_P, margin_P = (torch.tensor(values, device=learner.device) for values in (some.labels, some.margins))
    strength_P = torch.tensor(some.strengths, device=learner.device, dtype=torch.long)

    def pair_loss(numbers: Sequence[int], _: Batch, reward_S: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        own = list(numbers)
        difference_P = reward_S[0::2] - reward_S[1::2]
        if settings.thresholds:
            losses_P = graded_losses(difference_P, strength_P[own], settings.thresholds)
        else:
            losses_P = bradley_terry_losses(difference_P, label_P[own], margin_P[own])
        if settings.center:
            losses_P = losses_P + settings.center * (reward_S[0::2] + reward_S[1::2]) ** 2
        return losses_P, difference_P.detach()

    return pair_loss
