"""Pairs from several sources in stated proportions, balanced over principles and lengths.

Sources get their shares by weight; within a source every principle, and of each principle every length, gets as much as another. Where there
are too few pairs for a share, each is taken `repeats` times at most, and what is missing is shared out among the others. So nothing depends on
the order of the files, and no source is larger than its weight unless another could not fill its place.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

LENGTHS = (100, 300, 1000, 3000)
"""Words of the chosen text at which another class of lengths begins."""
Key = TypeVar("Key", bound=Hashable)


class Facts(NamedTuple):
    """What decides of a pair. `sha256` is of its texts."""

    source: str
    principles: tuple[str, ...]
    words: int
    sha256: str

    @property
    def length(self) -> int:
        return sum(self.words >= edge for edge in LENGTHS)


def mix(
    facts: Sequence[Facts], weights: Mapping[str, float], *, rows: int | None = None, repeats: int = 1, seed: int = 1
) -> list[int]:
    """The numbers of the pairs, as often as each is taken, in an order by chance. Sources without a weight are left out.

    `rows` None: as many as there are. Of ten votes and thirty violations with the same weight, each vote twice at most:

    >>> some = [Facts("votes", (), 50, f"{n}") for n in range(10)] + [Facts("violations", (), 50, f"{n}") for n in range(10, 40)]
    >>> taken = mix(some, {"votes": 1, "violations": 1}, rows=40, repeats=2)
    >>> sum(number < 10 for number in taken), len(taken)
    (20, 40)
    """
    by_source: dict[str, list[int]] = defaultdict(list)
    for number, one in enumerate(facts):
        if weights.get(one.source, 0) > 0:
            by_source[one.source].append(number)
    there = sum(map(len, by_source.values()))
    quotas = shared_out(
        rows or there,
        {source: weights[source] for source in by_source},
        {source: repeats * len(numbers) for source, numbers in by_source.items()},
    )
    taken = [
        number
        for source in sorted(by_source)
        for number in _balanced(by_source[source], facts, quotas[source], repeats, seed)
    ]
    places = Counter[int]()
    ordered = []
    for number in taken:
        places[number] += 1
        ordered.append((_chance(f"{places[number]}/{facts[number].sha256}", seed), number))
    return [number for _, number in sorted(ordered)]


def shared_out(total: int, weights: Mapping[Key, float], caps: Mapping[Key, int]) -> dict[Key, int]:
    """`total` in shares by weight, none above its cap; what one cannot take goes to the others, by weight.

    >>> shared_out(100, {"a": 1, "b": 1, "c": 2}, {"a": 10, "b": 90, "c": 90})
    {'a': 10, 'b': 30, 'c': 60}
    """
    found: dict[Key, int] = {}
    left, open_ = total, dict(weights)
    while open_ and (
        full := [key for key, weight in open_.items() if caps[key] <= left * weight / sum(open_.values())]
    ):
        for key in full:
            found[key] = caps[key]
            del open_[key]
        left = total - sum(found.values())
    shares = {key: left * weight / sum(open_.values()) for key, weight in open_.items()}
    found |= {key: int(share) for key, share in shares.items()}
    rest = left - sum(int(share) for share in shares.values())
    for key in sorted(shares, key=lambda key: (int(shares[key]) - shares[key], str(key)))[: max(0, rest)]:
        found[key] += 1
    return {key: found[key] for key in weights}


def _balanced(numbers: Sequence[int], facts: Sequence[Facts], quota: int, repeats: int, seed: int) -> list[int]:
    """So many of a source's pairs: shares for its principles, in them for the classes of lengths."""
    counts = Counter(key for number in numbers for key in facts[number].principles)
    cells: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number in numbers:
        one = facts[number]
        rarest = min(one.principles, key=lambda key: (counts[key], key), default="")
        cells[rarest][one.length].append(number)
    equally = dict.fromkeys(sorted(cells), 1.0)
    caps = {key: repeats * sum(map(len, by_length.values())) for key, by_length in cells.items()}
    taken: list[int] = []
    for key, share in shared_out(quota, equally, caps).items():
        by_length = cells[key]
        of_lengths = shared_out(
            share,
            dict.fromkeys(sorted(by_length), 1.0),
            {length: repeats * len(some) for length, some in by_length.items()},
        )
        for length, count in of_lengths.items():
            some = sorted(by_length[length], key=lambda number: _chance(facts[number].sha256, seed))
            taken += [some[place % len(some)] for place in range(count)]
    return taken


def _chance(of: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{of}".encode()).hexdigest()
