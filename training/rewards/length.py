"""How well a text keeps to the length that was asked for: POLARIS' penalty with a free band, and LongWriter-Zero's reward over a range."""

from __future__ import annotations

from training.rewards.counts import longwriter_words, polaris_words


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def polaris_band(target: int) -> tuple[float, float]:
    """The words that cost nothing, from and to.

    >>> polaris_band(1000), polaris_band(4000), polaris_band(12000)
    ((650, 1600), (3400.0, 5000.0), (11000, 13500))
    """
    return target - _clamp(0.15 * target, 350, 1000), target + _clamp(0.25 * target, 600, 1500)


def polaris_length(text: str, target: int) -> float:
    r"""POLARIS' length penalty, from 0 in the band to 1; words are counted by `\w+` (recipes.md 1.5).

    1 - words / low below the band, words / high - 1 above it, 1 at most. The paper's targets begin at 1,000 words. One below 350 has no lower
    bound, so nothing is too short for it.
    """
    low, high = polaris_band(target)
    words = polaris_words(text)
    if words < low:
        return 1 - words / low
    return min(1.0, max(0.0, words / high - 1))


def longwriter_length(text: str, low: int, high: int, most: int) -> float:
    """LongWriter-Zero's length reward, from 0 to 1 (arXiv 2506.18841; recipes.md 2.2).

    1 from `low` to `high` words, words / low below, and above that falling evenly to 0 at `most`. How far `most` lies the paper does not
    say. A range of [0, 0] stands for a request that no length answers: nothing but an empty text is right then.
    """
    words = longwriter_words(text)
    if words < low:
        return words / low
    if words <= high:
        return 1.0
    return max(0.0, (most - words) / (most - high)) if most > high else 0.0
