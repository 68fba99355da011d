"""The reward `length`: POLARIS' penalty for deviating from the requested length, with a free band."""

from __future__ import annotations

from training.config.declarations import Answer, Resources, Reward
from training.rewards.counts import polaris_words


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def polaris_band(target: int) -> tuple[float, float]:
    """The bounds of the band without a penalty, in words.

    >>> polaris_band(1000), polaris_band(4000), polaris_band(12000)
    ((650, 1600), (3400.0, 5000.0), (11000, 13500))
    """
    return target - _clamp(0.15 * target, 350, 1000), target + _clamp(0.25 * target, 600, 1500)


def polaris_length(text: str, target: int) -> float:
    r"""POLARIS' length penalty, from 0 within the band to 1; words are counted by `\w+`.

    It is 1 - words / low below the band and words / high - 1 above it, at most 1. The paper's targets start at 1,000 words. A target below 350 has no
    lower bound.
    """
    low, high = polaris_band(target)
    words = polaris_words(text)
    if words < low:
        return 1 - words / low
    return min(1.0, max(0.0, words / high - 1))


def score(answer: Answer, given: Resources) -> float | None:  # noqa: ARG001
    return None if answer.target is None else polaris_length(answer.text, answer.target)


REWARD = Reward(
    name="length",
    meaning="Says how far the story misses the length that was asked for, from 0 to 1. It is a penalty, so its weight is negative.",
    needs_target=True,
    score=score,
)
