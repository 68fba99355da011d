"""Continual pretraining on plain texts.

A longer text is read in pieces of `context` tokens; shorter ones are packed, and each attends to itself only. A step has about `batch_tokens`
tokens, so that its weight does not depend on the number of its texts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from training.common.errors import MendableError
from training.datasets.encoding import fingerprint, texts
from training.learner.finish import finish
from training.learner.models import max_text_tokens
from training.learner.run import Run, order, steps_of
from training.recipes.pretrain import PretrainSettings
from training.recipes.sft.loop import Examples, held_out_loss, learn


def pretrain(settings: PretrainSettings) -> Path | None:
    """Train, or resume training. Returns the folder of the model, or None if the run was asked to stop before its last step."""
    with Run(settings) as run:
        with run.log.phase("data"):
            tokenizer = run.load_tokenizer()
            context = max_text_tokens(settings.model, settings.context, run.log.log)
            examples: Examples = texts(settings.data, tokenizer, context, settings.data_weights, settings.seed)
            held_out: Examples = texts(settings.held_out, tokenizer, context)
            take, per_epoch = batches_by_tokens(examples, settings)
        learner = run.load_learner()
        evaluate = held_out_loss(learner, held_out)
        for step in run.steps(learner, steps_of(settings, per_epoch), fingerprint(examples), evaluate):
            run.log_step(step, learn(learner, [examples[number] for number in take(step)]))
        return finish(run, learner)


def batches_by_tokens(examples: Examples, settings: PretrainSettings) -> tuple[Callable[[int], list[int]], int]:
    """Return a function from a step to the numbers of its examples, about `batch_tokens` tokens, and the number of steps in the first epoch."""

    @cache
    def epoch(number: int) -> list[list[int]]:
        steps: list[list[int]] = [[]]
        filled = 0
        for example in order(len(examples), number, settings.seed):
            size = len(examples[example][0])
            if steps[-1] and filled + size > settings.batch_tokens:
                steps.append([])
                filled = 0
            steps[-1].append(example)
            filled += size
        return steps

    if not examples:
        raise MendableError("The data has no text to learn from.")
    per_epoch = len(epoch(0))

    def take(step: int) -> list[int]:
        number = 0
        while step >= len(epoch(number)):
            step -= len(epoch(number))
            number += 1
        return epoch(number)[step]

    return take, per_epoch
