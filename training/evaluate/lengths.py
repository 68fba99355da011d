"""Written to requested words by the requested length: the table of POLARIS (six buckets, and their slope)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BUCKETS = ((1000, 2000), (2000, 3000), (3000, 4000), (4000, 6000), (6000, 8000), (8000, 12_000))
TOKENS_PER_WORD = 1.5
PROMPT_TOKENS = 400
LEAST_WORDS = 200


@dataclass(frozen=True)
class Bucket:
    """Stories with a requested length of `low` to `high` words. `ratio` is None if nothing was written."""

    low: int
    high: int
    stories: int
    ratio: float | None
    error: float | None
    """The mean of |ln(written / requested)|, in which twice the length counts as much as half of it."""
    cut: int
    """Stories that reached the end of the context."""


def buckets_for(context: int) -> tuple[tuple[int, int], ...]:
    """Those of POLARIS' six buckets that fit into the context, in tokens; if fewer than two do, six of our own that fit."""
    room = int((context - PROMPT_TOKENS) / TOKENS_PER_WORD)
    fitting = tuple(bucket for bucket in BUCKETS if bucket[1] <= room)
    if len(fitting) >= 2:
        return fitting
    edges = np.linspace(LEAST_WORDS, max(room, LEAST_WORDS + 60), 7).round(-1).astype(int).tolist()
    return tuple(itertools.pairwise(edges))


def targets(buckets: Sequence[tuple[int, int]], each: int) -> list[int]:
    """`each` lengths per bucket, evenly spaced and rounded as a person would choose them."""
    found = []
    for low, high in buckets:
        step = 50 if high > 1000 else 10
        found += [int(low + (high - low) * (number + 0.5) / each) // step * step for number in range(each)]
    return found


def table(
    buckets: Sequence[tuple[int, int]], asked: Sequence[int], got: Sequence[int], cut: Sequence[bool]
) -> list[Bucket]:
    """The buckets of the table. The last one includes its upper end."""
    rows = []
    for low, high in buckets:
        last = (low, high) == tuple(buckets[-1])
        inside = [number for number, words in enumerate(asked) if low <= words < high or (last and words == high)]
        ratios = [got[number] / asked[number] for number in inside]
        errors = [log_error(asked[number], got[number]) for number in inside]
        rows.append(
            Bucket(
                low,
                high,
                len(inside),
                float(np.mean(ratios)) if ratios else None,
                float(np.mean(errors)) if errors else None,
                sum(cut[number] for number in inside),
            )
        )
    return rows


def log_error(asked: int, got: int) -> float:
    return abs(float(np.log(max(got, 1) / asked)))


def slope(values: Sequence[float | None]) -> float | None:
    """The slope of a least-squares line over the buckets, numbered 0, 1, 2, ....

    >>> slope([57.0, 54.0, None, 48.0])
    -3.0
    """
    places = [number for number, value in enumerate(values) if value is not None]
    if len(places) < 2:
        return None
    return round(float(np.polyfit(places, [value for value in values if value is not None], 1)[0]), 9)
