"""Sampling pairs from several sources by weight, balanced over principles and lengths.

Sources get shares by weight; within a source all principles get equal shares, and within a principle all length classes do. Where a
share has too few pairs, each is taken at most `max_repeats` times, and the remainder is divided among the others. The order of the files has no
effect, and a source exceeds its weight only where another has too few pairs.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

LENGTH_CLASSES = (100, 300, 1000, 3000)
"""The words of the chosen text at which a new length class begins."""
Key = TypeVar("Key", bound=Hashable)


class PairFacts(NamedTuple):
    """What the sampling depends on. `words` are those of the chosen text, `sha256` is the hash of all texts."""

    source: str
    principles: tuple[str, ...]
    words: int
    sha256: str

    @property
    def length_class(self) -> int:
        return sum(self.words >= bound for bound in LENGTH_CLASSES)


def mix(
    facts: Sequence[PairFacts],
    weights: Mapping[str, float],
    *,
    rows: int | None = None,
    max_repeats: int = 1,
    seed: int = 1,
) -> list[int]:
    """Return indices of pairs in a random order, each as often as the pair is taken. Sources without a weight are left out.

    With `rows` None there are as many as there are pairs. Ten votes and thirty violations with equal weights, each taken at most twice:

    >>> some = [PairFacts("votes", (), 50, f"{n}") for n in range(10)] + [PairFacts("violations", (), 50, f"{n}") for n in range(10, 40)]
    >>> taken = mix(some, {"votes": 1, "violations": 1}, rows=40, max_repeats=2)
    >>> sum(number < 10 for number in taken), len(taken)
    (20, 40)
    """
    by_source: dict[str, list[int]] = defaultdict(list)
    for number, one in enumerate(facts):
        if weights.get(one.source, 0) > 0:
            by_source[one.source].append(number)
    available = sum(map(len, by_source.values()))
    quotas = allocate(
        rows or available,
        {source: weights[source] for source in by_source},
        {source: max_repeats * len(numbers) for source, numbers in by_source.items()},
    )
    taken = [
        number
        for source in sorted(by_source)
        for number in _balanced(by_source[source], facts, quotas[source], max_repeats, seed)
    ]
    times = Counter[int]()
    ordered = []
    for number in taken:
        times[number] += 1
        ordered.append((_random_key(f"{times[number]}/{facts[number].sha256}", seed), number))
    return [number for _, number in sorted(ordered)]


def allocate(total: int, weights: Mapping[Key, float], caps: Mapping[Key, int]) -> dict[Key, int]:
    """Divide `total` by weight, with no share above its cap; what exceeds a cap is divided among the others by weight.

    >>> allocate(100, {"a": 1, "b": 1, "c": 2}, {"a": 10, "b": 90, "c": 90})
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


def _balanced(numbers: Sequence[int], facts: Sequence[PairFacts], quota: int, max_repeats: int, seed: int) -> list[int]:
    """`quota` indices of one source's pairs, balanced over its principles and then over their length classes."""
    counts = Counter(key for number in numbers for key in facts[number].principles)
    cells: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number in numbers:
        one = facts[number]
        rarest = min(one.principles, key=lambda key: (counts[key], key), default="")
        cells[rarest][one.length_class].append(number)
    equally = dict.fromkeys(sorted(cells), 1.0)
    caps = {key: max_repeats * sum(map(len, by_length.values())) for key, by_length in cells.items()}
    taken: list[int] = []
    for key, share in allocate(quota, equally, caps).items():
        by_length = cells[key]
        by_class = allocate(
            share,
            dict.fromkeys(sorted(by_length), 1.0),
            {length: max_repeats * len(some) for length, some in by_length.items()},
        )
        for length, count in by_class.items():
            some = sorted(by_length[length], key=lambda number: _random_key(facts[number].sha256, seed))
            taken += [some[place % len(some)] for place in range(count)]
    return taken


def _random_key(of: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{of}".encode()).hexdigest()
