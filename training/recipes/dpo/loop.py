"""Direct preference optimisation with the model that the run starts from as the reference: with its adapter, if the run continues one.

The reference's log-probabilities never change, so they are computed once, before the first step, and cached by hash: no second model is in
memory, and other runs with the same model and data use the cache.
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
from training.recipes.pairs import PairLoss, held_out_pairs, learn_pairs, load_pairs
from training.recipes.principles import LogprobSums, write_principle_report


def dpo(settings: DpoSettings) -> Path | None:
    """Train, or resume training. Returns the folder of the model, or None if the run was asked to stop before its last step."""
    with Run(settings) as run:
        train, held_out = load_pairs(run, settings)
        take, per_epoch = batches_of(len(train.examples), settings.batch, settings)
        learner = run.load_learner()
        with run.log.phase("reference"):
            before, before_held_out = (reference_sums(learner, some, settings) for some in (train, held_out))
        pair_loss = dpo_pair_loss(before, learner, train, settings)
        after_held_out: LogprobSums = {}
        evaluate = held_out_pairs(
            learner, held_out, dpo_pair_loss(before_held_out, learner, held_out, settings, after_held_out)
        )
        for step in run.steps(learner, steps_of(settings, per_epoch), fingerprint(train.examples), evaluate):
            run.log_step(step, learn_pairs(learner, train, take(step), pair_loss))
        if run.finished and evaluate and any(held_out.principles):
            if not after_held_out:  # the run was killed after its last step, and has resumed
                evaluate()
            write_principle_report(run, held_out, before_held_out, after_held_out)
        return finish(run, learner)


def reference_sums(learner: Learner, some: Pairs, settings: DpoSettings) -> torch.Tensor:
    """Return the sums of log-probabilities of the pairs' texts under the present model, [P, 2], in nats, from the cache if they are there."""
    return reference_logprobs(
        learner,
        some.examples,
        model=settings.model,
        adapter=settings.adapter,
        data=fingerprint(some.examples),
        precision=learner.settings.precision,
        folder=settings.reference_cache or settings.run_dir,
    )


def dpo_pair_loss(
    reference_P2: torch.Tensor, learner: Learner, some: Pairs, settings: DpoSettings, seen: LogprobSums | None = None
) -> PairLoss:
    """Return the loss function of `some` pairs, given the reference's sums of log-probabilities, [P, 2]. It adds the model's sums to `seen`."""
    if settings.length_normalised:
        lengths = [[sample.learned for sample in example] for example in some.examples]
        reference_P2 = reference_P2 / torch.tensor(lengths, device=learner.device).view(-1, 2)
    smoothing = settings.label_smoothing
    label_P = torch.tensor(some.labels, device=learner.device) * (1 - 2 * smoothing) + smoothing

    def pair_loss(numbers: Sequence[int], batch: Batch, logprobs_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        own = list(numbers)
        texts_S = text_logprobs(logprobs_N, batch.text_N, len(batch.lengths), mean=settings.length_normalised)
        if seen is not None:
            sums_P2 = text_logprobs(logprobs_N, batch.text_N, len(batch.lengths), mean=False).view(-1, 2)
            seen.update(zip(own, sums_P2.tolist(), strict=True))
        return dpo_losses(texts_S.view(-1, 2), reference_P2[own], label_P[own], settings.beta)

    return pair_loss
