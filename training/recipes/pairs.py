"""What the recipes that learn from pairs share: the gradients of a step, and the same measures on pairs held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from training.config.recipe import RecipeSettings
from training.datasets.encoding import ChatEncoder, Fitting, Pairs, pairs
from training.learner.batches import Batch
from training.learner.engine import Learner
from training.learner.models import load_tokenizer, room
from training.learner.processes import sums
from training.learner.run import Run

Judge = Callable[[Sequence[int], Batch, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""From the numbers of P pairs, their texts and the model's answer: the loss and the margin of each, [P]."""


def load_pairs(run: Run, settings: RecipeSettings) -> tuple[Pairs, Pairs]:
    """The pairs to learn, and those held out."""
    with run.log.phase("data"):
        encoder = ChatEncoder(load_tokenizer(settings.model), settings.model)
        fit = Fitting(room(settings.model, settings.context, run.log.log), settings.overlong)
        train, held_out = pairs(settings.data, encoder, fit), pairs(settings.held_out, encoder, fit)
        run.log.log(f"{len(train.examples)} pairs to learn, {len(held_out.examples)} held out; {fit.summary()}.")
        return train, held_out


def learn_pairs(learner: Learner, some: Pairs, chosen: Sequence[int], judge: Judge) -> dict[str, float]:
    """The gradients of a step on the pairs `chosen`; this process' shares of its metrics."""
    metrics = dict.fromkeys(("loss", "tokens", "margin", "accuracy"), 0.0)
    for places, batch in learner.share([some.examples[number] for number in chosen]):
        losses_P, margin_P = judge([chosen[place] for place in places], batch, learner(batch))
        loss = losses_P.sum() * batch.counts / len(chosen)
        learner.backward(loss)
        metrics["loss"] += loss.item()
        metrics["tokens"] += batch.counts * batch.tokens
        metrics["margin"] += batch.counts * margin_P.sum().item() / len(chosen)
        metrics["accuracy"] += batch.counts * _right(margin_P) / len(chosen)
    return metrics


def held_out_pairs(learner: Learner, some: Pairs, judge: Judge) -> Callable[[], dict[str, float]] | None:
    """A function that measures loss, margin and accuracy on pairs that are never learned; None if there are none."""

    def evaluate() -> dict[str, float]:
        metrics = dict.fromkeys(("held_out_loss", "held_out_margin", "held_out_accuracy"), 0.0)
        for numbers, batch, answer in learner.read(some.examples):
            losses_P, margin_P = judge(numbers, batch, answer)
            for name, value in zip(metrics, (losses_P.sum().item(), margin_P.sum().item(), _right(margin_P))):
                metrics[name] += value / len(some.examples)
        return sums(metrics)

    return evaluate if some.examples else None


def _right(margin_P: torch.Tensor) -> float:
    """Pairs that the model orders as the editors did; one that it cannot order counts half."""
    return ((margin_P > 0).float() + 0.5 * (margin_P == 0).float()).sum().item()
