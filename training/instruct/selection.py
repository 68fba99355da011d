"""Selecting rows: of those with nearly the same instruction the best one, and of each task and domain the best share."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

from training.common.records import Domain
from training.corpus.duplicates import PERMUTATIONS, fingerprint, jaccard


class Scored(Protocol):
    @property
    def task(self) -> str: ...
    @property
    def domain(self) -> Domain: ...
    @property
    def instruction(self) -> str: ...
    @property
    def rank(self) -> tuple[float, float, str]:
        """Smaller is better; no two rows of a task have the same rank."""


def near_duplicates(rows: Sequence[Scored], threshold: float) -> dict[int, int]:
    """Rows to remove, by their index, each with the index of a kept, better row of its task with nearly the same instruction.

    Candidates come from MinHash and LSH as in `training.corpus.duplicates`; each is then measured by Jaccard's similarity of three-word
    shingles. A row is removed only in favour of one that is kept.
    """
    from datasketch import MinHash, MinHashLSH

    prints = [fingerprint(row.instruction) for row in rows]
    # A lower threshold for the index: candidates are measured afterwards, but what it misses is lost.
    index = MinHashLSH(threshold=max(0.1, 0.75 * threshold), num_perm=PERMUTATIONS)
    found: dict[int, int] = {}
    for number in sorted(range(len(rows)), key=lambda one: rows[one].rank):
        own = prints[number]
        sketch = MinHash(num_perm=PERMUTATIONS, hashvalues=own.minhash, scheme="affine32")
        same_task = (other for other in index.query(sketch) if rows[other].task == rows[number].task)
        near = [other for other in same_task if jaccard(own, prints[other]) >= threshold]
        if near:
            found[number] = min(near, key=lambda other: rows[other].rank)
        else:
            index.insert(number, sketch, check_duplication=False)
    return found


def not_best(rows: Sequence[Scored], share: float, limit: int | None) -> set[int]:
    """The indices of rows outside the best `share` (0 to 1) of their task and domain, or outside the best `limit`."""
    groups: dict[tuple[Domain, str], list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        groups[row.domain, row.task].append(number)
    rejected: set[int] = set()
    for numbers in groups.values():
        keep = math.ceil(round(share * len(numbers), 6))
        keep = keep if limit is None else min(keep, limit)
        rejected |= set(sorted(numbers, key=lambda one: rows[one].rank)[keep:])
    return rejected
