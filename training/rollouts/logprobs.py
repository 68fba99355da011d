"""Log-probabilities of the current learner, for stories that were sampled before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.common.records import Sample
from training.learner import processes
from training.learner.engine import Learner
from training.rollouts.records import Logprobs


def divergence(learner: Learner, stories: Sequence[tuple[Sample, Logprobs]], temperature: float = 1.0) -> float | None:
    """The divergence of the learner from the policy that wrote the stories, in nats per token: the mean of log p then - log p now, both at the temperature.

    Each story comes with the log-probabilities of its answer's tokens when they were sampled. None without tokens. All processes take part.
    """
    sums = {"difference": 0.0, "tokens": 0.0}
    for numbers, _, logprobs_N in learner.infer([(sample,) for sample, _ in stories], temperature) if stories else ():
        difference_N = np.concatenate([stories[number][1] for number in numbers]) - logprobs_N.float().cpu().numpy()
        sums["difference"] += float(np.nansum(difference_N, dtype=np.float64))
        sums["tokens"] += float(np.isfinite(difference_N).sum())
    found = processes.sum_across_ranks(sums)
    return found["difference"] / found["tokens"] if found["tokens"] else None
