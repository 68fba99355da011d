"""Continual pretraining: a model goes on reading, short stories and whole books alike.

A book is read in pieces of `context` tokens, all of it; stories shorter than that lie packed beside one another, closed in
themselves. A step takes about `batch_tokens` tokens, so its weight is that of its tokens and not of its number of texts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from training.common.errors import MendableError
from training.datasets.encoding import fingerprint, texts
from training.learner.finish import finish
from training.learner.models import load_tokenizer, room
from training.learner.run import Run, order, steps_of
from training.recipes.pretrain import PretrainSettings
from training.recipes.sft.loop import Examples, held_out_loss, learn


def pretrain(settings: PretrainSettings) -> Path | None:
    """Train, or go on training; the folder of the model, or None if the run was asked to stop before its last step."""
    with Run(settings) as run:
        with run.log.phase("data"):
            tokenizer = load_tokenizer(settings.model)
            most = room(settings.model, settings.context, run.log.log)
            examples: Examples = texts(settings.data, tokenizer, most)
            held_out: Examples = texts(settings.held_out, tokenizer, most)
            take, per_epoch = by_tokens(examples, settings)
        learner = run.load_learner()
        evaluate = held_out_loss(learner, held_out)
        for step in run.steps(learner, steps_of(settings, per_epoch), fingerprint(examples), evaluate):
            run.log_step(step, learn(learner, [examples[number] for number in take(step)]))
        return finish(run, learner)


def by_tokens(examples: Examples, settings: PretrainSettings) -> tuple[Callable[[int], list[int]], int]:
    """Which examples a step takes, about `batch_tokens` tokens of them, and how many steps an epoch has (of the first)."""

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
        return steps[: max(1, len(steps) - 1)]  # the rest at an epoch's end is less than a step

    if not examples:
        raise MendableError("The data holds no text to learn from.")
    per_epoch = len(epoch(0))

    def take(step: int) -> list[int]:
        number = 0
        while step >= len(epoch(number)):
            step -= len(epoch(number))
            number += 1
        return epoch(number)[step]

    return take, per_epoch
