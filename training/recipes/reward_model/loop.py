"""A reward model: one number for a text, higher for what the editors prefer (Bradley and Terry, with strengths and ties)."""

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
from training.recipes.pairs import Judge, held_out_pairs, learn_pairs, load_pairs
from training.recipes.reward_model import RewardModelSettings


def reward_model(settings: RewardModelSettings) -> Path | None:
    """Train, or go on training; the folder of the model, or None if the run was asked to stop before its last step."""
    with Run(settings) as run:
        train, held_out = load_pairs(run, settings)
        take, per_epoch = batches_of(len(train.examples), settings.batch, settings)
        learner = run.load_learner(reward=True)
        judge, judge_held_out = (by_reward(learner, some, settings) for some in (train, held_out))
        evaluate = held_out_pairs(learner, held_out, judge_held_out)
        for step in run.steps(learner, steps_of(settings, per_epoch), fingerprint(train.examples), evaluate):
            run.log_step(step, learn_pairs(learner, train, take(step), judge))
        return finish(run, learner)


def by_reward(learner: Learner, some: Pairs, settings: RewardModelSettings) -> Judge:
    """Losses and margins of `some` pairs from the rewards of their texts."""
    label_P, margin_P = (torch.tensor(values, device=learner.device) for values in (some.labels, some.margins))
    strength_P = torch.tensor(some.strengths, device=learner.device, dtype=torch.long)

    def judge(numbers: Sequence[int], _: Batch, answer_S: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        own = list(numbers)
        difference_P = answer_S[0::2] - answer_S[1::2]
        if settings.thresholds:
            losses_P = graded_losses(difference_P, strength_P[own], settings.thresholds)
        else:
            losses_P = bradley_terry_losses(difference_P, label_P[own], margin_P[own])
        if settings.center:
            losses_P = losses_P + settings.center * (answer_S[0::2] + answer_S[1::2]) ** 2
        return losses_P, difference_P.detach()

    return judge
