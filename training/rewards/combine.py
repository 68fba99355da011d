"""Computes the advantages of a group's stories from their rewards, in two ways, with the human reference.

    weighted    POLARIS: R = sum of weight x reward, clipped; A = (R - mean) / deviation
    averaged    LongWriter-Zero: each reward is normalised within the group, and A is the mean of those

Mean and deviation are those of the policy's own stories. A story that a judge could not score is missing: it has no advantage and does not
affect the others. The human reference is compared with the policy's stories, but is not one of them.

POLARIS' worked example, two rewards of a group of five: quality .52 .48 .60 .44 .56 (weight 1), length penalty 0 0 .2 .1 0 (weight -0.8):
R = .52 .48 .44 .36 .56, mean .472, deviation .0769, A = .624 .104 -.416 -1.456 1.144. A human story with R = .70 has 2.963.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from training.rewards.settings import Combining

Rewards = Mapping[str, float | None]
"""The rewards of one story by name; None is a missing value."""


HIGHEST = 1e9
"""The highest amount of a reward: beyond it sums and squares lose the other values, or overflow."""


def usable(value: float) -> bool:
    """Whether a reward is a number to learn from; otherwise it is missing."""
    return math.isfinite(value) and abs(value) <= HIGHEST


def total(rewards: Rewards, how: Combining) -> float | None:
    """The weighted sum, clipped; None if a reward with a weight is missing, or is not usable."""
    found = 0.0
    for name, weight in how.weights.items():
        value = rewards.get(name)
        if value is None or not usable(value):
            return None
        found += weight * value
    return found if how.clip is None else min(max(found, -how.clip), how.clip)


def deviation(values: Sequence[float]) -> float:
    """The unbiased standard deviation, divided by N - 1.

    >>> round(deviation([0.52, 0.48, 0.44, 0.36, 0.56]), 4)
    0.0769
    """
    mean = fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


class Scale:
    """Normalises a value by those of the policy: (value - mean) / (max(deviation, min_std) + epsilon)."""

    def __init__(self, values: Sequence[float], how: Combining) -> None:
        self.mean = fmean(values)
        self.deviation = deviation(values)
        self._divisor = max(self.deviation, how.min_std) + how.epsilon

    def __call__(self, value: float) -> float:
        return (value - self.mean) / self._divisor


@dataclass(frozen=True)
class Advantages:
    """The advantages of a group."""

    policy: list[float | None]
    """Advantages of the policy's stories in order; None for stories that do not count."""
    human: float | None
    """The advantage of the human story; None if there is none, or it could not be scored."""
    deviation: float | None
    """The standard deviation of the weighted sums; None if too few were scored, or advantages are averaged."""


def advantages(policy: Sequence[Rewards], human: Rewards | None, how: Combining) -> Advantages:
    """The advantages of a group's stories. If fewer than two could be scored, none counts."""
    names: list[str | None] = [None] if how.how == "weighted" else list(how.weights)
    scored = [number for number, rewards in enumerate(policy) if total(rewards, how) is not None]
    if len(scored) < 2:
        return Advantages([None] * len(policy), None, None)
    found = dict.fromkeys(scored, 0.0)
    human_advantage = None if human is None or total(human, how) is None else 0.0
    std = None
    for name in names:
        scale = Scale([_value(policy[number], name, how) for number in scored], how)
        share, sign = (1.0, 1.0) if name is None else _share_and_sign(name, how)
        for number in scored:
            found[number] += share * sign * scale(_value(policy[number], name, how))
        if human_advantage is not None:
            assert human is not None
            human_advantage += share * sign * scale(_value(human, name, how))
        std = scale.deviation if name is None else std
    return Advantages([found.get(number) for number in range(len(policy))], human_advantage, std)


def _value(rewards: Rewards, name: str | None, how: Combining) -> float:
    value = total(rewards, how) if name is None else rewards[name]
    assert value is not None
    return value


def _share_and_sign(name: str, how: Combining) -> tuple[float, float]:
    """The share of a reward in the average, and its sign, which is -1 for a penalty."""
    weight = how.weights[name]
    return abs(weight) / math.fsum(map(abs, how.weights.values())), math.copysign(1.0, weight)
