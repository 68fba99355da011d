"""Shared code of the recipes that learn from pairs: the gradients of a step, and the metrics on held-out pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from training.config.recipe import RecipeSettings
from training.datasets.encoding import ChatEncoder, ContextLimit, Pairs, pairs
from training.learner.batches import Batch
from training.learner.engine import Learner
from training.learner.models import max_text_tokens
from training.learner.processes import sum_across_ranks
from training.learner.run import Run

PairLoss = Callable[[Sequence[int], Batch, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""A function of the numbers of P pairs, their batch and the model's output, which returns the loss and the margin of each pair, [P]."""


def load_pairs(run: Run, settings: RecipeSettings, *, reward: bool = False) -> tuple[Pairs, Pairs]:
    """Read and encode the pairs to train on, and the held-out pairs; for a `reward` model, or a language model."""
    with run.log.phase("data"):
        encoder = ChatEncoder(run.load_tokenizer(reward=reward), settings.model)
        fit = ContextLimit(max_text_tokens(settings.model, settings.context, run.log.log), settings.overlong)
        train, held_out = pairs(settings.data, encoder, fit), pairs(settings.held_out, encoder, fit)
        run.log.log(f"{len(train.examples)} pairs to learn, {len(held_out.examples)} held out; {fit.summary()}.")
        for note in encoder.notes:
            run.log.log(note)
        return train, held_out


def learn_pairs(learner: Learner, some: Pairs, chosen: Sequence[int], pair_loss: PairLoss) -> dict[str, float]:
    """Add up the gradients of a step on the pairs `chosen`. Returns this process' shares of the step's metrics."""
    metrics = dict.fromkeys(("loss", "tokens", "margin", "accuracy"), 0.0)
    for places, batch in learner.split_across_ranks([some.examples[number] for number in chosen]):
        losses_P, margin_P = pair_loss([chosen[place] for place in places], batch, learner(batch))
        loss = losses_P.sum() * batch.loss_factor / len(chosen)
        learner.backward(loss)
        metrics["loss"] += loss.item()
        metrics["tokens"] += batch.loss_factor * batch.tokens
        metrics["margin"] += batch.loss_factor * margin_P.sum().item() / len(chosen)
        metrics["accuracy"] += batch.loss_factor * _correct(margin_P) / len(chosen)
    return metrics


def held_out_pairs(learner: Learner, some: Pairs, pair_loss: PairLoss) -> Callable[[], dict[str, float]] | None:
    """Return a function that measures loss, margin and accuracy on held-out pairs; None if there are none."""

    def evaluate() -> dict[str, float]:
        metrics = dict.fromkeys(("held_out_loss", "held_out_margin", "held_out_accuracy"), 0.0)
        for numbers, batch, output in learner.infer(some.examples):
            losses_P, margin_P = pair_loss(numbers, batch, output)
            for name, value in zip(metrics, (losses_P.sum().item(), margin_P.sum().item(), _correct(margin_P))):
                metrics[name] += value / len(some.examples)
        return sum_across_ranks(metrics)

    return evaluate if some.examples else None


def _correct(margin_P: torch.Tensor) -> float:
    """Return the number of pairs that the model orders as the editors did; a margin of 0 counts half."""
    return ((margin_P > 0).float() + 0.5 * (margin_P == 0).float()).sum().item()
