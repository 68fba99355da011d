"""Words got of words asked, by how many were asked: the table of POLARIS (six buckets, and the slope over them)."""

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
    """Stories of which `low` to `high` words were asked. `ratio` is None where nothing was written."""

    low: int
    high: int
    stories: int
    ratio: float | None
    error: float | None
    """The mean of |ln(got / asked)|: twice too long is as wrong as half as long."""
    cut: int
    """Stories that ran into the end of the context."""


def buckets_for(context: int) -> tuple[tuple[int, int], ...]:
    """POLARIS' six as far as they fit into a context of so many tokens; where fewer than two do, six of our own that fit."""
    room = int((context - PROMPT_TOKENS) / TOKENS_PER_WORD)
    fitting = tuple(bucket for bucket in BUCKETS if bucket[1] <= room)
    if len(fitting) >= 2:
        return fitting
    edges = np.linspace(LEAST_WORDS, max(room, LEAST_WORDS + 60), 7).round(-1).astype(int).tolist()
    return tuple(itertools.pairwise(edges))


def targets(buckets: Sequence[tuple[int, int]], each: int) -> list[int]:
    """`each` lengths a bucket, evenly over it, to two digits or so: what a person would ask for."""
    found = []
    for low, high in buckets:
        step = 50 if high > 1000 else 10
        found += [int(low + (high - low) * (number + 0.5) / each) // step * step for number in range(each)]
    return found


def table(
    buckets: Sequence[tuple[int, int]], asked: Sequence[int], got: Sequence[int], cut: Sequence[bool]
) -> list[Bucket]:
    """The last bucket takes its upper end in."""
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
    """Of a straight line by least squares over the buckets, numbered 0, 1, 2, ...: what one bucket more changes.

    >>> slope([57.0, 54.0, None, 48.0])
    -3.0
    """
    places = [number for number, value in enumerate(values) if value is not None]
    if len(places) < 2:
        return None
    return round(float(np.polyfit(places, [value for value in values if value is not None], 1)[0]), 9)
