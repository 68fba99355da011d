"""Supervised fine-tuning on the assistant's turns of conversations, with the same weight for every token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from training.common.records import Sample
from training.datasets.encoding import ChatEncoder, ContextLimit, conversations, fingerprint
from training.learner.engine import Learner
from training.learner.finish import finish
from training.learner.models import max_text_tokens
from training.learner.processes import sum_across_ranks
from training.learner.run import Run, batches_of, steps_of
from training.objectives.sft import nll
from training.recipes.sft import SftSettings

Examples = list[tuple[Sample]]


def sft(settings: SftSettings) -> Path | None:
    """Train, or resume training. Returns the folder of the model, or None if the run was asked to stop before its last step."""
    with Run(settings) as run:
        with run.log.phase("data"):
            encoder = ChatEncoder(run.load_tokenizer(), settings.model)
            fit = ContextLimit(max_text_tokens(settings.model, settings.context, run.log.log), settings.overlong)
            examples = conversations(settings.data, encoder, fit, settings.data_weights, settings.seed)
            held_out = conversations(settings.held_out, encoder, fit)
            run.log.log(f"{len(examples)} conversations to learn, {len(held_out)} held out; {fit.summary()}.")
            for note in encoder.notes:
                run.log.log(note)
            take, per_epoch = batches_of(len(examples), settings.batch, settings)
        learner = run.load_learner()
        evaluate = held_out_loss(learner, held_out)
        for step in run.steps(learner, steps_of(settings, per_epoch), fingerprint(examples), evaluate):
            run.log_step(step, learn(learner, [examples[number] for number in take(step)]))
        return finish(run, learner)


def learn(learner: Learner, examples: Examples) -> dict[str, float]:
    """Add up the gradients of a step. Returns this process' shares of the step's metrics."""
    count = sum(sample.learned for (sample,) in examples)
    metrics = {"loss": 0.0, "tokens": 0.0}
    for _, batch in learner.split_across_ranks(examples):
        loss = nll(learner(batch), batch.weights_N) * batch.loss_factor / count
        learner.backward(loss)
        metrics["loss"] += loss.item()
        metrics["tokens"] += batch.loss_factor * batch.tokens
    return metrics


def held_out_loss(learner: Learner, examples: Examples) -> Callable[[], dict[str, float]] | None:
    """Return a function that measures the mean loss per learned token of held-out texts; None if there are none."""
    count = sum(sample.learned for (sample,) in examples)

    def evaluate() -> dict[str, float]:
        total = sum(nll(logprobs_N, batch.weights_N).item() for _, batch, logprobs_N in learner.infer(examples))
        return {name: value / count for name, value in sum_across_ranks({"held_out_loss": total}).items()}

    return evaluate if examples else None
