"""Supervised fine-tuning: the model learns what the assistant says, every token with the same weight, whoever says it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from training.common.records import Sample
from training.datasets.encoding import ChatEncoder, Fitting, conversations, fingerprint
from training.learner.engine import Learner
from training.learner.finish import finish
from training.learner.models import load_tokenizer, room
from training.learner.processes import sums
from training.learner.run import Run, batches_of, steps_of
from training.objectives.sft import nll
from training.recipes.sft import SftSettings

Examples = list[tuple[Sample]]


def sft(settings: SftSettings) -> Path | None:
    """Train, or go on training; the folder of the model, or None if the run was asked to stop before its last step."""
    with Run(settings) as run:
        with run.log.phase("data"):
            encoder = ChatEncoder(load_tokenizer(settings.model), settings.model)
            fit = Fitting(room(settings.model, settings.context, run.log.log), settings.overlong)
            examples = conversations(settings.data, encoder, fit)
            held_out = conversations(settings.held_out, encoder, fit)
            run.log.log(f"{len(examples)} conversations to learn, {len(held_out)} held out; {fit.told()}.")
            take, per_epoch = batches_of(len(examples), settings.batch, settings)
        learner = run.load_learner()
        evaluate = held_out_loss(learner, held_out)
        for step in run.steps(learner, steps_of(settings, per_epoch), fingerprint(examples), evaluate):
            run.log_step(step, learn(learner, [examples[number] for number in take(step)]))
        return finish(run, learner)


def learn(learner: Learner, examples: Examples) -> dict[str, float]:
    """The gradients of a step; this process' shares of what is to be told of it."""
    count = sum(sample.learned for (sample,) in examples)
    told = {"loss": 0.0, "tokens": 0.0}
    for _, batch in learner.share(examples):
        loss = nll(learner(batch), batch.weights_N) * batch.counts / count
        learner.backward(loss)
        told["loss"] += loss.item()
        told["tokens"] += batch.counts * batch.tokens
    return told


def held_out_loss(learner: Learner, examples: Examples) -> Callable[[], dict[str, float]] | None:
    """A function that measures the mean loss per learned token of texts that are never learned; None if there are none."""
    count = sum(sample.learned for (sample,) in examples)

    def evaluate() -> dict[str, float]:
        total = sum(nll(answer, batch.weights_N).item() for _, batch, answer in learner.read(examples))
        return {name: value / count for name, value in sums({"held_out_loss": total}).items()}

    return evaluate if examples else None
