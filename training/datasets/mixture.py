"""Mixes the files of a run by weight: how often each line is learned in an epoch, as in the dataset mixers of Alignment Handbook and open-instruct."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def repeated(lines: int, weight: float) -> int:
    """Return how many lines `weighted` makes of so many."""
    return int(weight) * lines + round((weight - int(weight)) * lines)


def weighted(lines: Sequence[T], weight: float, seed: str) -> list[T]:
    """Return each line as often as the whole part of `weight` says, and a random part of them, which `seed` fixes, for the rest.

    >>> len(weighted(range(10), 0.5, "1")), len(weighted(range(10), 2.2, "1")), weighted("abc", 1, "1")
    (5, 22, ['a', 'b', 'c'])
    """
    whole = int(weight)
    part = random.Random(seed).sample(range(len(lines)), repeated(len(lines), weight - whole))
    return [*lines] * whole + [lines[number] for number in sorted(part)]
