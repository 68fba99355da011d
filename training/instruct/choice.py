"""Which rows stay: the best of each task, and of those with nearly the same instruction the best one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

from training.common.records import Domain, Task
from training.corpus.duplicates import PERMUTATIONS, fingerprint, jaccard


class Scored(Protocol):
    @property
    def task(self) -> Task: ...
    @property
    def domain(self) -> Domain: ...
    @property
    def instruction(self) -> str: ...
    @property
    def rank(self) -> tuple[float, float, str]:
        """Smaller is better; no two of a task are equal."""


def alike(rows: Sequence[Scored], threshold: float) -> dict[int, int]:
    """Rows that go, each with a better one of its task that has nearly the same instruction and stays.

    Candidates come from MinHash and LSH, as in `training.corpus.duplicates`; each is then measured by Jaccard's similarity of its runs of three
    words. A row goes only for one that stays.
    """
    from datasketch import MinHash, MinHashLSH

    prints = [fingerprint(row.instruction) for row in rows]
    # the index aims lower than asked: what it proposes is measured, what it misses is lost
    index = MinHashLSH(threshold=max(0.1, 0.75 * threshold), num_perm=PERMUTATIONS)
    found: dict[int, int] = {}
    for number in sorted(range(len(rows)), key=lambda one: rows[one].rank):
        mine = prints[number]
        sketch = MinHash(num_perm=PERMUTATIONS, hashvalues=mine.minhash, scheme="affine32")
        same_task = (other for other in index.query(sketch) if rows[other].task == rows[number].task)
        near = [other for other in same_task if jaccard(mine, prints[other]) >= threshold]
        if near:
            found[number] = min(near, key=lambda other: rows[other].rank)
        else:
            index.insert(number, sketch, check_duplication=False)
    return found


def not_best(rows: Sequence[Scored], share: float, most: int | None) -> set[int]:
    """Rows that are not among the best `share` of their task and domain, nor among the best `most`."""
    groups: dict[tuple[Domain, Task], list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        groups[row.domain, row.task].append(number)
    left: set[int] = set()
    for numbers in groups.values():
        keep = math.ceil(round(share * len(numbers), 6))
        keep = keep if most is None else min(keep, most)
        left |= set(sorted(numbers, key=lambda one: rows[one].rank)[keep:])
    return left
