"""From the rewards of a group's stories to one advantage for each: two ways to combine, and the human reference.

    weighted    POLARIS: R = sum of weight x reward, clipped; A = (R - mean) / deviation                       (recipes.md 1.5, 1.6)
    averaged    LongWriter-Zero: each reward is normalised within the group, and A is the mean of those        (recipes.md 2.2)

Only the policy's own stories make the mean and the deviation. A story that a judge could not score is absent: it has no advantage and moves
nobody else's. The human reference is measured against the policy's stories and never with them.

POLARIS' worked example, two rewards of a group of five: quality .52 .48 .60 .44 .56 (weight 1), length penalty 0 0 .2 .1 0 (weight -0.8):
R = .52 .48 .44 .36 .56, mean .472, deviation .0769, A = .624 .104 -.416 -1.456 1.144. A human story with R = .70 has 2.963.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from training.rewards.settings import Combining, RewardName

Rewards = Mapping[str, float | None]
"""Of one story, by name; None is an absent value."""


def total(rewards: Rewards, how: Combining) -> float | None:
    """The weighted sum; None where a reward that has a weight is absent."""
    found = 0.0
    for name, weight in how.weights.items():
        value = rewards.get(name)
        if value is None:
            return None
        found += weight * value
    return found if how.clip is None else min(max(found, -how.clip), how.clip)


def deviation(values: Sequence[float]) -> float:
    """The unbiased one, of N - 1.

    >>> round(deviation([0.52, 0.48, 0.44, 0.36, 0.56]), 4)
    0.0769
    """
    mean = fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


class Scale:
    """Where a value stands among the policy's: (value - mean) / (deviation + epsilon)."""

    def __init__(self, values: Sequence[float], how: Combining) -> None:
        self.mean = fmean(values)
        self.deviation = deviation(values)
        self._divisor = max(self.deviation, how.floor) + how.epsilon

    def __call__(self, value: float) -> float:
        return (value - self.mean) / self._divisor


@dataclass(frozen=True)
class Advantages:
    """Of the policy's stories in their order, None for those that do not count; and of the human one, if it could be scored."""

    policy: list[float | None]
    human: float | None
    deviation: float | None
    """Of the weighted sums; None where nothing could be compared."""


def advantages(policy: Sequence[Rewards], human: Rewards | None, how: Combining) -> Advantages:
    """Fewer than two stories that could be scored leave nothing to compare, and none of the group counts."""
    names: list[RewardName | None] = [None] if how.how == "weighted" else list(how.weights)
    scored = [number for number, rewards in enumerate(policy) if total(rewards, how) is not None]
    if len(scored) < 2:
        return Advantages([None] * len(policy), None, None)
    found = dict.fromkeys(scored, 0.0)
    of_human = None if human is None or total(human, how) is None else 0.0
    spread = None
    for name in names:
        scale = Scale([_value(policy[number], name, how) for number in scored], how)
        share, sign = (1.0, 1.0) if name is None else _share(name, how)
        for number in scored:
            found[number] += share * sign * scale(_value(policy[number], name, how))
        if of_human is not None:
            assert human is not None
            of_human += share * sign * scale(_value(human, name, how))
        spread = scale.deviation if name is None else spread
    return Advantages([found.get(number) for number in range(len(policy))], of_human, spread)


def _value(rewards: Rewards, name: RewardName | None, how: Combining) -> float:
    value = total(rewards, how) if name is None else rewards[name]
    assert value is not None
    return value


def _share(name: RewardName, how: Combining) -> tuple[float, float]:
    """Of one reward among those that are averaged; a penalty's advantage is turned about."""
    weight = how.weights[name]
    return abs(weight) / math.fsum(map(abs, how.weights.values())), math.copysign(1.0, weight)
