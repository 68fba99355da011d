"""What the recipes that learn from pairs share: the gradients of a step, and the same measures on pairs held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from training.config.recipe import RecipeSettings
from training.datasets.encoding import ChatEncoder, ContextLimit, Pairs, pairs
from training.learner.batches import Batch
from training.learner.engine import Learner
from training.learner.models import load_tokenizer, max_text_tokens
from training.learner.processes import sum_across_ranks
from training.learner.run import Run

Judge = Callable[[Sequence[int], Batch, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""From the numbers of P pairs, their texts and the model's answer: the loss and the margin of each, [P]."""


def load_pairs(run: Run, settings: RecipeSettings) -> tuple[Pairs, Pairs]:
    """The pairs to learn, and those held out."""
    with run.log.phase("data"):
        encoder = ChatEncoder(load_tokenizer(settings.model), settings.model)
        fit = ContextLimit(max_text_tokens(settings.model, settings.context, run.log.log), settings.overlong)
        train, held_out = pairs(settings.data, encoder, fit), pairs(settings.held_out, encoder, fit)
        run.log.log(f"{len(train.examples)} pairs to learn, {len(held_out.examples)} held out; {fit.summary()}.")
        return train, held_out


def learn_pairs(learner: Learner, some: Pairs, chosen: Sequence[int], judge: Judge) -> dict[str, float]:
    """The gradients of a step on the pairs `chosen`; this process' shares of what is to be told of it."""
    told = dict.fromkeys(("loss", "tokens", "margin", "accuracy"), 0.0)
    for places, batch in learner.split_across_ranks([some.examples[number] for number in chosen]):
        losses_P, margin_P = judge([chosen[place] for place in places], batch, learner(batch))
        loss = losses_P.sum() * batch.loss_factor / len(chosen)
        learner.backward(loss)
        told["loss"] += loss.item()
        told["tokens"] += batch.loss_factor * batch.tokens
        told["margin"] += batch.loss_factor * margin_P.sum().item() / len(chosen)
        told["accuracy"] += batch.loss_factor * _right(margin_P) / len(chosen)
    return told


def held_out_pairs(learner: Learner, some: Pairs, judge: Judge) -> Callable[[], dict[str, float]] | None:
    """A function that measures loss, margin and accuracy on pairs that are never learned; None if there are none."""

    def evaluate() -> dict[str, float]:
        told = dict.fromkeys(("held_out_loss", "held_out_margin", "held_out_accuracy"), 0.0)
        for numbers, batch, answer in learner.infer(some.examples):
            losses_P, margin_P = judge(numbers, batch, answer)
            for name, value in zip(told, (losses_P.sum().item(), margin_P.sum().item(), _right(margin_P))):
                told[name] += value / len(some.examples)
        return sum_across_ranks(told)

    return evaluate if some.examples else None


def _right(margin_P: torch.Tensor) -> float:
    """Pairs that the model orders as the editors did; one that it cannot order counts half."""
    return ((margin_P > 0).float() + 0.5 * (margin_P == 0).float()).sum().item()
