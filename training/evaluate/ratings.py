"""Ratings from comparisons: Bradley and Terry's model with Davidson's ties (1970), and length as a covariate.

For a comparison of i with j let d = r_i - r_j + g x, where x is the logarithm of the ratio of the lengths of their texts in
words. Then

    P(i wins), P(j wins), P(tie)  are as  exp(d / 2), exp(-d / 2), v

and without ties v is 0, which is Bradley and Terry's own model. `g` is the effect of length alone: with it, ratings are those of
texts of equal length. Ratings are in log-odds with a sum of 0; multiplied by 400 / ln 10 they are on the scale of Elo.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse.csgraph import connected_components

Floats = NDArray[np.float64]

ELO = 400 / math.log(10)
PRIOR = 1e-6
"""The factor of an L2 penalty, as in choix, which keeps the rating of a contestant with only wins finite."""


@dataclass(frozen=True)
class Comparison:
    """`outcome`: 1 the first won, 0 a tie, -1 the second. `group` identifies dependent comparisons, such as the prompt."""

    first: int
    second: int
    outcome: int
    longer: float = 0.0
    group: int = 0


@dataclass
class Ratings:
    """Ratings of contestants 0 to n - 1 in log-odds. `low` and `high` are a 95 % interval by resampling the groups."""

    values: list[float]
    length: float | None
    """The effect of length, for a text that is e times as long; None if it was not requested."""
    ties: float
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)


def connected(contestants: int, comparisons: Sequence[Comparison]) -> bool:
    """Whether every contestant is connected with every other by a chain in which each has beaten the next: then the maximum-likelihood
    ratings are finite (Ford, 1957). Ties do not count: after seven wins and a tie, the likelihood still grows with the rating and v.
    """
    won = np.zeros((contestants, contestants), dtype=bool)
    for one in comparisons:
        if one.outcome:
            won[(one.first, one.second)[:: one.outcome]] = True
    return bool(connected_components(won, connection="strong", return_labels=False) == 1)


def rate(
    contestants: int,
    comparisons: Sequence[Comparison],
    *,
    with_length: bool = False,
    resamples: int = 0,
    seed: int = 1,
    prior: float = PRIOR,
) -> Ratings:
    """The maximum-likelihood ratings; with `resamples` also intervals, by a cluster bootstrap over groups."""
    data = _Data(contestants, comparisons, with_length=with_length, prior=prior)
    found = data.fit(np.ones(len(comparisons)))
    ratings = data.read(found)
    if resamples:
        groups = sorted({one.group for one in comparisons})
        place = {group: number for number, group in enumerate(groups)}
        member = np.array([place[one.group] for one in comparisons])
        random = np.random.default_rng(seed)
        drawn = []
        for _ in range(resamples):
            times = np.bincount(random.integers(len(groups), size=len(groups)), minlength=len(groups))
            drawn.append(data.read(data.fit(times[member].astype(float), start=found)).values)
        ratings.low, ratings.high = np.percentile(drawn, [2.5, 97.5], axis=0).tolist()
    return ratings


class _Data:
    """Comparisons as arrays. The parameters are the ratings, then the effect of length, then the logarithm of v."""

    def __init__(self, contestants: int, comparisons: Sequence[Comparison], *, with_length: bool, prior: float) -> None:
        self.contestants, self.with_length, self.prior = contestants, with_length, prior
        self.design = np.zeros((len(comparisons), contestants + with_length))
        for row, one in enumerate(comparisons):
            self.design[row, one.first] += 1
            self.design[row, one.second] -= 1
            if with_length:
                self.design[row, contestants] = one.longer
        self.outcome = np.array([one.outcome for one in comparisons], dtype=float)
        self.tied = self.outcome == 0
        self.with_ties = bool(self.tied.any())

    def fit(self, weight: Floats, start: Floats | None = None) -> Floats:
        size = self.design.shape[1] + self.with_ties
        if start is None:
            start = np.zeros(size)
        done = minimize(
            self._loss, start, args=(weight,), jac=True, method="L-BFGS-B", options={"gtol": 1e-9, "ftol": 1e-15}
        )
        return np.asarray(done.x)

    def _loss(self, parameters: Floats, weight: Floats) -> tuple[float, Floats]:
        """Minus the log-likelihood, and its gradient."""
        width = self.design.shape[1]
        half = self.design @ parameters[:width] / 2
        tie = np.full_like(half, parameters[width] if self.with_ties else -np.inf)
        total = np.logaddexp(np.logaddexp(half, -half), tie)
        seen = np.where(self.tied, tie, self.outcome * half)
        loss = -float(weight @ (seen - total)) + self.prior * float(parameters[:width] @ parameters[:width])
        expected = np.exp(half - total) - np.exp(-half - total)
        gradient = -(weight * (self.outcome - expected)) @ self.design / 2 + 2 * self.prior * parameters[:width]
        if self.with_ties:
            gradient = np.append(gradient, -weight @ (self.tied - np.exp(tie - total)))
        return loss, gradient

    def read(self, parameters: Floats) -> Ratings:
        values = parameters[: self.contestants] - parameters[: self.contestants].mean()
        return Ratings(
            values=values.tolist(),
            length=float(parameters[self.contestants]) if self.with_length else None,
            ties=math.exp(parameters[-1]) if self.with_ties else 0.0,
        )
