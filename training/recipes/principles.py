"""What a model learned of each principle: on pairs held out, how often it prefers the good text, before and after.

Preference is by log p per token, so that a text is not preferred for being short.
"""

from __future__ import annotations

import json
from collections import defaultdict

import torch
from scipy.stats import binomtest

from training.common.records import Interval, Learned
from training.datasets.encoding import Pairs
from training.learner import processes
from training.learner.run import Run

FILE = "principles.json"


Sums = dict[int, list[float]]
"""By the number of a pair: log p of its chosen and of its rejected text."""


def tell_of_principles(run: Run, some: Pairs, before_P2: torch.Tensor, own: Sums) -> None:
    """Write principles.json into the run's folder. `own` are the pairs that this process read with the model as it is now."""
    after = {number: sums for part in processes.all_gather(own) for number, sums in part.items()}
    if not run.first:
        return
    told = learned(some, before_P2.tolist(), [after[number] for number in range(len(some.examples))])
    (run.folder / FILE).write_text(json.dumps([one.model_dump() for one in told], indent=2) + "\n")
    for one in told:
        run.log.log(
            f"{one.principle}: prefers the good text of {one.after.value:.0%} of {one.pairs} pairs held out, "
            f"{one.before.value:.0%} before."
        )


def learned(some: Pairs, before: list[list[float]], after: list[list[float]]) -> list[Learned]:
    """By principle, from the sums of log-probabilities of both texts of each pair."""
    right: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for (chosen, rejected), principles, *sums in zip(some.examples, some.principles, before, after, strict=True):
        lengths = chosen.learned, rejected.learned
        shares = tuple(_right(*(one / length for one, length in zip(both, lengths))) for both in sums)
        for principle in principles:
            right[principle].append((shares[0], shares[1]))
    return [
        Learned(
            principle=key, pairs=len(found), before=_share([b for b, _ in found]), after=_share([a for _, a in found])
        )
        for key, found in sorted(right.items())
    ]


def _right(chosen: float, rejected: float) -> float:
    return 1.0 if chosen > rejected else 0.5 if chosen == rejected else 0.0


def _share(right: list[float]) -> Interval:
    """With Wilson's interval of 95 %."""
    bounds = binomtest(round(sum(right)), len(right)).proportion_ci(0.95, "wilson")
    return Interval(value=sum(right) / len(right), low=float(bounds.low), high=float(bounds.high))
