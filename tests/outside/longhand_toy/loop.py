"""The loop of the recipe `toy`, on the learner of the library."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from longhand_toy import ToySettings
from training.common.records import Sample
from training.datasets.encoding import ChatEncoder, ContextLimit, conversations, fingerprint
from training.learner.finish import finish
from training.learner.models import max_text_tokens
from training.learner.run import Run, batches_of, steps_of
from training.recipes.sft.loop import learn


def toy(settings: ToySettings) -> Path | None:
    with Run(settings) as run:
        encoder = ChatEncoder(run.load_tokenizer(), settings.model)
        fit = ContextLimit(max_text_tokens(settings.model, settings.context, run.log.log), settings.overlong)
        examples = [(ending(one, settings.last),) for (one,) in conversations(settings.data, encoder, fit)]
        take, per_epoch = batches_of(len(examples), settings.batch, settings)
        learner = run.load_learner()
        for step in run.steps(learner, steps_of(settings, per_epoch), fingerprint(examples)):
            run.log_step(step, learn(learner, [examples[number] for number in take(step)]))
        return finish(run, learner)


def ending(sample: Sample, last: int) -> Sample:
    weights = sample.weights.copy()
    weights[np.flatnonzero(weights)[:-last]] = 0
    return Sample(sample.tokens, weights)
