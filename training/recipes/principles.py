"""The accuracy of a model by principle: how often it prefers the good text of held-out pairs, before and after training.

It prefers the text with the higher log p per token, so that short texts have no advantage.
"""

from __future__ import annotations

import json
from collections import defaultdict

import torch
from scipy.stats import binomtest

from training.common.records import Interval, PrincipleAccuracy
from training.datasets.encoding import Pairs
from training.learner import processes
from training.learner.run import Run

FILE = "principles.json"


LogprobSums = dict[int, list[float]]
"""log p of the chosen and the rejected text, by the number of the pair."""


def write_principle_report(run: Run, some: Pairs, before_P2: torch.Tensor, own: LogprobSums) -> None:
    """Write principles.json into the run's folder. `own` has the pairs that this process has read with the trained model."""
    after = {number: sums for part in processes.all_gather(own) for number, sums in part.items()}
    if not run.first:
        return
    found = principle_accuracies(some, before_P2.tolist(), [after[number] for number in range(len(some.examples))])
    (run.folder / FILE).write_text(json.dumps([one.model_dump() for one in found], indent=2) + "\n")
    for one in found:
        run.log.log(
            f"{one.principle}: prefers the good text of {one.after.value:.0%} of {one.pairs} held-out pairs, "
            f"{one.before.value:.0%} before."
        )


def principle_accuracies(some: Pairs, before: list[list[float]], after: list[list[float]]) -> list[PrincipleAccuracy]:
    """Return the accuracies from the sums of log-probabilities of both texts of each pair."""
    correct: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for (chosen, rejected), principles, *sums in zip(some.examples, some.principles, before, after, strict=True):
        lengths = chosen.learned, rejected.learned
        shares = tuple(_correct(*(one / length for one, length in zip(both, lengths))) for both in sums)
        for principle in principles:
            correct[principle].append((shares[0], shares[1]))
    return [
        PrincipleAccuracy(
            principle=key, pairs=len(found), before=_share([b for b, _ in found]), after=_share([a for _, a in found])
        )
        for key, found in sorted(correct.items())
    ]


def _correct(chosen: float, rejected: float) -> float:
    return 1.0 if chosen > rejected else 0.5 if chosen == rejected else 0.0


def _share(correct: list[float]) -> Interval:
    """Return the mean with its 95 % interval (Wilson 1927)."""
    bounds = binomtest(round(sum(correct)), len(correct)).proportion_ci(0.95, "wilson")
    return Interval(value=sum(correct) / len(correct), low=float(bounds.low), high=float(bounds.high))
