"""Exact and near duplicates.

A text is represented by its set of shingles: three consecutive words (in Chinese six characters), hashed to 32 bits, without regard
to punctuation, case and accents. Stories with the same words are exact duplicates. Candidates for near duplicates come from MinHash and
LSH (Broder 1997; datasketch's index), candidates for contained texts from a sample of shingles that is the same for every text (those
whose hash is a multiple of SAMPLED). Each candidate is then measured on the complete sets.

A text is compared only with texts that are kept, the longest first, and of equally long ones the first source. So if A is similar to B
and B to C, C is not rejected because of A. A long text that mostly consists of several others is a collection, and is rejected itself.
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

WORDS_PER_SHINGLE, CHARACTERS_PER_SHINGLE = 3, 6
PERMUTATIONS = 128
SAMPLED = 8
CONTAINED = 0.72  # share of the shorter text's shingles; unrelated stories of the corpus have less than 0.1 in common


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is needed to compare a text: the digest of its words, its sorted shingles, and their MinHash."""

    digest: bytes
    shingles: Short
    minhash: Short


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Text `which` is rejected because of text `of`. `similarity` is Jaccard's; for "contained" and "collection" the share, 0 to 1."""

    which: int
    of: int
    kind: str  # "exact", "near", "contained", "collection"
    similarity: float


def fingerprint(text: str) -> Fingerprint:
    """The fingerprint of any text."""
    plain = normalised(text)
    return fingerprint_of(plain, word_hashes(plain))


def fingerprint_of(plain: str, words: Hashes) -> Fingerprint:
    """The fingerprint of a normalised text with the hashes of its words."""
    chinese = len(plain) < 3 * len(words)  # each character is a word
    size = CHARACTERS_PER_SHINGLE if chinese else WORDS_PER_SHINGLE
    runs = run_hashes(words, max(1, min(size, len(words))))
    shingles = np.unique((runs >> np.uint64(32)).astype(np.uint32))
    return Fingerprint(hashlib.sha256(plain.encode()).digest(), shingles, _minhash(shingles))


@cache
def _permutations() -> tuple[Short, Short]:
    random = np.random.default_rng(20260101)
    odd = random.integers(0, 2**31, PERMUTATIONS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return odd, random.integers(0, 2**32, PERMUTATIONS, dtype=np.uint32)


def _minhash(shingles: Short) -> Short:
    """(PERMUTATIONS,): the least value of each random permutation of the shingles."""
    factors, shifts = _permutations()
    least = np.full(PERMUTATIONS, 2**32 - 1, np.uint32)
    for first in range(0, len(shingles), 2048):  # blocks that fit into the processor's cache
        block = shingles[first : first + 2048, None] * factors + shifts
        np.minimum(least, block.min(axis=0), out=least)
    return least


def shared(first: Short, second: Short) -> int:
    """The number of shingles that two sorted sets have in common."""
    if len(first) > len(second):
        first, second = second, first
    if not len(first):
        return 0
    places = np.minimum(np.searchsorted(second, first), len(second) - 1)
    return int((second[places] == first).sum())


def jaccard(first: Fingerprint, second: Fingerprint) -> float:
    """The Jaccard similarity of the two sets of shingles, 0 to 1."""
    both = shared(first.shingles, second.shingles)
    return both / max(1, len(first.shingles) + len(second.shingles) - both)


def find_duplicates(prints: Sequence[Fingerprint], lengths: Sequence[int], threshold: float) -> list[Duplicate]:
    """The texts to reject, each with the text that it duplicates. Texts are in the order of the sources, `lengths` in words."""
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
    """For an exact copy of a text that is rejected itself, name the text that is kept."""
    while one.kind == "exact" and one.of in found:
        original = found[one.of]
        one = Duplicate(one.which, original.of, original.kind, original.similarity)
    return one


def _measure(prints: Sequence[Fingerprint], number: int, other: int, threshold: float) -> Duplicate | None:
    """Compare `number` with the longer text `other`; None if it is no duplicate."""
    own, others = prints[number].shingles, prints[other].shingles
    both = shared(own, others)
    similarity = both / max(1, len(own) + len(others) - both)
    if similarity >= threshold:
        return Duplicate(number, other, "near", similarity)
    inside = both / max(1, len(own))
    return Duplicate(number, other, "contained", inside) if inside >= CONTAINED else None


def _candidates(prints: Sequence[Fingerprint], order: Sequence[int], threshold: float) -> dict[int, set[int]]:
    """For each text the texts that it should be compared with."""
    from datasketch import MinHash, MinHashLSH

    found: dict[int, set[int]] = defaultdict(set)
    # A lower threshold for the index: candidates are measured afterwards, but what it misses is lost.
    index = MinHashLSH(threshold=max(0.1, 0.75 * threshold), num_perm=PERMUTATIONS)
    for number in order:
        if not len(prints[number].shingles):
            continue
        sketch = MinHash(num_perm=PERMUTATIONS, hashvalues=prints[number].minhash, scheme="affine32")
        for other in index.query(sketch):
            found[number].add(other)
            found[other].add(number)
        index.insert(number, sketch, check_duplication=False)
    for number, other in _pairs_by_samples(prints, order):
        found[number].add(other)
        found[other].add(number)
    return found


def _pairs_by_samples(prints: Sequence[Fingerprint], order: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs in which the longer text has at least half of the shorter one's sampled shingles."""
    from scipy.sparse import csr_matrix

    samples = [prints[number].shingles[prints[number].shingles % np.uint32(SAMPLED) == 0] for number in order]
    if len(samples) < 2:
        return []
    sizes = np.array([len(sample) for sample in samples])
    rows = np.repeat(np.arange(len(samples)), sizes)
    values, columns, often = np.unique(np.concatenate(samples), return_inverse=True, return_counts=True)
    rare = often[columns] <= max(10, len(samples) // 20)  # common shingles distinguish nothing
    rows, columns = rows[rare], columns[rare]
    sizes = np.bincount(rows, minlength=len(samples))
    has = csr_matrix((np.ones(len(rows), np.int32), (rows, columns)), shape=(len(samples), len(values)))
    pairs: list[tuple[int, int]] = []
    for first in range(0, len(samples), 256):  # in blocks, since the whole product would not fit into memory
        block = (has[first : first + 256] @ has.T).tocoo()
        left, right = block.row + first, block.col
        near = (left < right) & (block.data >= 5) & (2 * block.data >= np.minimum(sizes[left], sizes[right]))
        pairs += [(order[a], order[b]) for a, b in zip(left[near].tolist(), right[near].tolist())]
    return pairs


def _collections(
    prints: Sequence[Fingerprint], order: Sequence[int], candidates: dict[int, set[int]]
) -> dict[int, Duplicate]:
    """Texts that mostly consist of at least two other texts which do not repeat each other, such as books beside their stories."""
    found: dict[int, Duplicate] = {}
    for number in order:
        own = prints[number].shingles
        parts: list[int] = []
        covered = np.zeros(len(own), bool)
        for other in sorted(candidates[number], key=lambda other: (-len(prints[other].shingles), other)):
            others = prints[other].shingles
            if other in found or len(others) > 0.7 * len(own) or shared(others, own) < CONTAINED * len(others):
                continue
            inside = np.isin(own, others, assume_unique=True)
            if int((inside & ~covered).sum()) >= 0.5 * len(others):
                covered |= inside
                parts.append(other)
        if len(parts) >= 2 and covered.mean() >= CONTAINED:
            found[number] = Duplicate(number, parts[0], "collection", float(covered.mean()))
    return found
