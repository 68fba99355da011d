"""Exact and near duplicates.

A text is seen as its set of shingles: runs of three words (of six signs in Chinese), hashed to 32 bits, whatever the punctuation,
capitals and accents. Stories with the same words are exact duplicates. Candidates for near ones come from MinHash and LSH
(Broder 1997; datasketch's index), candidates for "contained in" from a sample of the shingles that is the same for every text
(those whose hash is a multiple of SAMPLED). Each candidate is then measured on its whole sets.

A text stays or goes by comparison with texts that stay, the longest first and among equals the first source: A like B and B like
C never drops C for A's sake. A long text that mainly consists of several others is their collection, and goes itself.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from training.corpus.shingles import Hashes, normalised, run_hashes, word_hashes

Short = npt.NDArray[np.uint32]

WORDS, SIGNS = 3, 6
PERMUTATIONS = 128
SAMPLED = 8
CONTAINED = 0.72  # share of the shorter one's shingles; unrelated stories of the corpus share less than 0.1


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is kept of a text to compare it: the digest of its words, its sorted shingles, their MinHash."""

    digest: bytes
    shingles: Short
    minhash: Short


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Text `which` goes because of text `of`. `similarity` is Jaccard's, or for `contained` the share that is in the other."""

    which: int
    of: int
    kind: str  # "exact", "near", "contained", "collection"
    similarity: float


def fingerprint(text: str) -> Fingerprint:
    plain = normalised(text)
    return fingerprint_of(plain, word_hashes(plain))


def fingerprint_of(plain: str, words: Hashes) -> Fingerprint:
    """The fingerprint of a normalised text whose words are hashed already."""
    size = SIGNS if len(plain) < 3 * len(words) else WORDS  # words of one letter each: Chinese
    runs = run_hashes(words, max(1, min(size, len(words))))
    shingles = np.unique((runs >> np.uint64(32)).astype(np.uint32))
    return Fingerprint(hashlib.sha256(plain.encode()).digest(), shingles, _minhash(shingles))


@cache
def _permutations() -> tuple[Short, Short]:
    random = np.random.default_rng(20260101)
    odd = random.integers(0, 2**31, PERMUTATIONS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return odd, random.integers(0, 2**32, PERMUTATIONS, dtype=np.uint32)


def _minhash(shingles: Short) -> Short:
    """The least value of each of PERMUTATIONS permutations of 32 bits; the shingles are mixed already."""
    factors, shifts = _permutations()
    least = np.full(PERMUTATIONS, 2**32 - 1, np.uint32)
    for first in range(0, len(shingles), 2048):  # a block fits in the cache
        block = shingles[first : first + 2048, None] * factors + shifts
        np.minimum(least, block.min(axis=0), out=least)
    return least


def shared(first: Short, second: Short) -> int:
    """How many shingles two sorted sets have in common."""
    if len(first) > len(second):
        first, second = second, first
    if not len(first):
        return 0
    places = np.minimum(np.searchsorted(second, first), len(second) - 1)
    return int((second[places] == first).sum())


def jaccard(first: Fingerprint, second: Fingerprint) -> float:
    both = shared(first.shingles, second.shingles)
    return both / max(1, len(first.shingles) + len(second.shingles) - both)


def find_duplicates(prints: Sequence[Fingerprint], lengths: Sequence[int], threshold: float) -> list[Duplicate]:
    """Which texts go, and for which others' sake; `lengths` are in words, the order is that of the sources."""
    found: dict[int, Duplicate] = {}
    first_with: dict[bytes, int] = {}
    order = sorted(range(len(prints)), key=lambda number: (-lengths[number], number))
    for number in order:
        if number != (original := first_with.setdefault(prints[number].digest, number)):
            found[number] = Duplicate(number, original, "exact", 1.0)
    order = [number for number in order if number not in found]
    candidates = _candidates(prints, order, threshold)
    found |= _collections(prints, order, candidates)
    kept: set[int] = set()
    for number in order:
        if number in found:
            continue
        measured = [_measure(prints, number, other, threshold) for other in sorted(candidates[number]) if other in kept]
        near = [one for one in measured if one is not None]
        if near:
            found[number] = max(near, key=lambda one: (one.kind == "near", one.similarity, -one.of))
        else:
            kept.add(number)
    return [_to_kept(found[number], found) for number in sorted(found)]


def _to_kept(one: Duplicate, found: dict[int, Duplicate]) -> Duplicate:
    """An exact copy of a text that went itself names the one that stayed."""
    while one.kind == "exact" and one.of in found:
        behind = found[one.of]
        one = Duplicate(one.which, behind.of, behind.kind, behind.similarity)
    return one


def _measure(prints: Sequence[Fingerprint], number: int, other: int, threshold: float) -> Duplicate | None:
    """Whether `number` goes for the sake of the longer `other`."""
    mine, theirs = prints[number].shingles, prints[other].shingles
    both = shared(mine, theirs)
    similar = both / max(1, len(mine) + len(theirs) - both)
    if similar >= threshold:
        return Duplicate(number, other, "near", similar)
    inside = both / max(1, len(mine))
    return Duplicate(number, other, "contained", inside) if inside >= CONTAINED else None


def _candidates(prints: Sequence[Fingerprint], order: Sequence[int], threshold: float) -> dict[int, set[int]]:
    """Pairs worth measuring, both ways."""
    from datasketch import MinHash, MinHashLSH

    found: dict[int, set[int]] = defaultdict(set)
    # The index aims a little lower than asked: what it proposes is measured, what it misses is lost.
    index = MinHashLSH(threshold=max(0.1, 0.75 * threshold), num_perm=PERMUTATIONS)
    for number in order:
        if not len(prints[number].shingles):
            continue
        sketch = MinHash(num_perm=PERMUTATIONS, hashvalues=prints[number].minhash, scheme="affine32")
        for other in index.query(sketch):
            found[number].add(other)
            found[other].add(number)
        index.insert(number, sketch, check_duplication=False)
    for number, other in _sharing_samples(prints, order):
        found[number].add(other)
        found[other].add(number)
    return found


def _sharing_samples(prints: Sequence[Fingerprint], order: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of which half of the shorter one's sampled shingles are in the other."""
    from scipy.sparse import csr_matrix

    samples = [prints[number].shingles[prints[number].shingles % np.uint32(SAMPLED) == 0] for number in order]
    if len(samples) < 2:
        return []
    sizes = np.array([len(sample) for sample in samples])
    rows = np.repeat(np.arange(len(samples)), sizes)
    values, columns, often = np.unique(np.concatenate(samples), return_inverse=True, return_counts=True)
    telling = often[columns] <= max(10, len(samples) // 20)  # a phrase that many have says nothing, and costs the most
    rows, columns = rows[telling], columns[telling]
    sizes = np.bincount(rows, minlength=len(samples))
    has = csr_matrix((np.ones(len(rows), np.int32), (rows, columns)), shape=(len(samples), len(values)))
    pairs: list[tuple[int, int]] = []
    for first in range(0, len(samples), 256):  # the product of all with all would not fit for a large corpus
        block = (has[first : first + 256] @ has.T).tocoo()
        left, right = block.row + first, block.col
        near = (left < right) & (block.data >= 5) & (2 * block.data >= np.minimum(sizes[left], sizes[right]))
        pairs += [(order[a], order[b]) for a, b in zip(left[near].tolist(), right[near].tolist())]
    return pairs


def _collections(
    prints: Sequence[Fingerprint], order: Sequence[int], candidates: dict[int, set[int]]
) -> dict[int, Duplicate]:
    """Texts of which at least two others that do not repeat each other make up most: whole books beside their stories."""
    found: dict[int, Duplicate] = {}
    for number in order:
        mine = prints[number].shingles
        parts: list[int] = []
        covered = np.zeros(len(mine), bool)
        for other in sorted(candidates[number], key=lambda other: (-len(prints[other].shingles), other)):
            theirs = prints[other].shingles
            if other in found or len(theirs) > 0.7 * len(mine) or shared(theirs, mine) < CONTAINED * len(theirs):
                continue
            inside = np.isin(mine, theirs, assume_unique=True)
            if int((inside & ~covered).sum()) >= 0.5 * len(theirs):
                covered |= inside
                parts.append(other)
        if len(parts) >= 2 and covered.mean() >= CONTAINED:
            found[number] = Duplicate(number, parts[0], "collection", float(covered.mean()))
    return found
