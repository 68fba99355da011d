"""Direct preference optimisation against the model that the run starts from.

What that model thinks of each text never changes, so it is computed once, before the first step, and kept by hash: another run on
the same model and data finds it, and no second model is held in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from training.datasets.encoding import Pairs, fingerprint
from training.learner.batches import Batch
from training.learner.engine import Learner
from training.learner.finish import finish
from training.learner.reference import reference_logprobs
from training.learner.run import Run, batches_of, steps_of
from training.objectives.dpo import dpo_losses, text_logprobs
from training.recipes.dpo import DpoSettings
from training.recipes.pairs import Judge, held_out_pairs, learn_pairs, load_pairs
from training.recipes.principles import Sums, tell_of_principles


def dpo(settings: DpoSettings) -> Path | None:
    """Train, or go on training; the folder of the model, or None if the run was asked to stop before its last step."""
    with Run(settings) as run:
        train, held_out = load_pairs(run, settings)
        take, per_epoch = batches_of(len(train.examples), settings.batch, settings)
        learner = run.load_learner()
        with run.log.phase("reference"):
            before, before_held_out = (reference_of(learner, some, settings) for some in (train, held_out))
        judge = against(before, learner, train, settings)
        after_held_out: Sums = {}
        evaluate = held_out_pairs(
            learner, held_out, against(before_held_out, learner, held_out, settings, after_held_out)
        )
        for step in run.steps(learner, steps_of(settings, per_epoch), fingerprint(train.examples), evaluate):
            run.log_step(step, learn_pairs(learner, train, take(step), judge))
        if run.finished and evaluate and any(held_out.principles):
            if not after_held_out:  # it was killed after its last step
                evaluate()
            tell_of_principles(run, held_out, before_held_out, after_held_out)
        return finish(run, learner)


def reference_of(learner: Learner, some: Pairs, settings: DpoSettings) -> torch.Tensor:
    """Sums of log-probabilities of the pairs' texts, [P, 2], of the learner as it is now; where they are kept already, they are read."""
    return reference_logprobs(
        learner,
        some.examples,
        model=settings.model,
        data=fingerprint(some.examples),
        precision=settings.learner.precision,
        folder=settings.reference_cache or settings.run_dir,
    )


def against(
    reference_P2: torch.Tensor, learner: Learner, some: Pairs, settings: DpoSettings, seen: Sums | None = None
) -> Judge:
    """Losses and margins of `some` pairs, from the reference's sums of log-probabilities, [P, 2]. The model's own sums go into `seen`."""
    if settings.length_normalised:
        lengths = [[sample.learned for sample in example] for example in some.examples]
        reference_P2 = reference_P2 / torch.tensor(lengths, device=learner.device).view(-1, 2)
    wrong = settings.label_smoothing
    label_P = torch.tensor(some.labels, device=learner.device) * (1 - 2 * wrong) + wrong

    def judge(numbers: Sequence[int], batch: Batch, answer: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        own = list(numbers)
        texts_S = text_logprobs(answer, batch.text_N, len(batch.lengths), mean=settings.length_normalised)
        if seen is not None:
            sums_P2 = text_logprobs(answer, batch.text_N, len(batch.lengths), mean=False).view(-1, 2)
            seen.update(zip(own, sums_P2.tolist(), strict=True))
        return dpo_losses(texts_S.view(-1, 2), reference_P2[own], label_P[own], settings.beta)

    return judge
