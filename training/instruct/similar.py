"""The passages of a corpus that are most similar to a text, by the cosine of TF-IDF vectors in sparse matrices.

The column of a word is its hash, so that no vocabulary is kept. For P passages of w words:

    memory   O(P w): about 120 MB for 100,000 passages of 150 words, three times that during construction, and BLOCK × CHUNK similarities
    time     O(P w) for construction; for each text the sum, over its words, of the number of passages that contain the word
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from training.common.text import SCENE_BREAK, count_words, paragraphs
from training.corpus.shingles import normalised, word_hashes

COLUMNS = 2**20
BLOCK, CHUNK = 8192, 64
"""Passages and texts whose similarities are in memory at the same time: 4 MB."""

Floats = npt.NDArray[np.float64]


class Match(NamedTuple):
    """The index of a passage and its cosine similarity, from 0 to 1."""

    passage: int
    similarity: float


def cut_passages(text: str, words: int) -> list[str]:
    """Passages of whole paragraphs with about `words` words, at least half and at most twice as many; none spans a scene break."""
    found: list[str] = []
    passage: list[str] = []
    total = 0
    for block in [*paragraphs(text), SCENE_BREAK]:
        count = count_words(block)
        ends = block == SCENE_BREAK or block.startswith("## ")
        if passage and (ends or total + count > words * 1.2):
            found.append("\n\n".join(passage))
            passage, total = [], 0
        if not ends:
            passage.append(block)
            total += count
    return [one for one in found if words / 2 <= count_words(one) <= words * 2]


class Similar:
    """Passages as unit vectors of (1 + log term frequency) × log inverse document frequency."""

    def __init__(self, passages: Iterable[str]) -> None:
        counts = _counts(passages)
        document_frequency = np.bincount(counts.indices, minlength=COLUMNS)
        self._idf = np.log((1 + counts.shape[0]) / (1 + document_frequency))  # 0 for a word that all passages have
        self._matrix = self._weighted(counts)

    def __len__(self) -> int:
        return int(self._matrix.shape[0])

    def vectors(self, texts: Iterable[str]) -> Any:
        """(texts, COLUMNS): the unit vectors of texts, a sparse matrix."""
        return self._weighted(_counts(texts))

    def best(self, texts: Any, excluded: Sequence[npt.NDArray[np.bool_]], limit: float) -> list[Match | None]:
        """The most similar passage for each of at most CHUNK texts, the first of several; None if none has a word in common.

        Args:
            texts: (texts, COLUMNS), as `vectors` returns them.
            excluded: for each text (passages,), which passages it must not get.
            limit: the highest similarity, from 0 to 1, that is accepted.
        """
        best: list[Match | None] = [None] * texts.shape[0]
        for start in range(0, len(self), BLOCK):
            similarities = self._cosines(texts, self._matrix[start : start + BLOCK])
            similarities[similarities > limit] = -1.0
            for row, mask in enumerate(excluded):
                similarities[row, mask[start : start + BLOCK]] = -1.0
                place = int(similarities[row].argmax())
                value, so_far = float(similarities[row, place]), best[row]
                if value > (so_far.similarity if so_far else 0.0):
                    best[row] = Match(start + place, value)
        return best

    def similarities(self, vector: Any, passages: Sequence[int]) -> Floats:
        """(passages,): the similarity of one text, (1, COLUMNS), to each of these passages."""
        found: Floats = self._cosines(vector, self._matrix[list(passages)])[0]
        return found

    def _cosines(self, texts: Any, passages: Any) -> Floats:
        found: Floats = (texts @ passages.T).toarray()
        return np.round(found, 6)  # the last digits differ between processors

    def _weighted(self, counts: Any) -> Any:
        weighted = counts.astype(np.float64)
        weighted.data = (1 + np.log(weighted.data)) * self._idf[weighted.indices]
        lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
        divisors = np.repeat(np.where(lengths > 0, lengths, 1.0), np.diff(weighted.indptr))
        weighted.data /= divisors
        return weighted


def _counts(texts: Iterable[str]) -> Any:
    """(texts, COLUMNS): how often each word occurs."""
    columns: list[npt.NDArray[np.int32]] = []
    data: list[npt.NDArray[np.int32]] = []
    ends = [0]
    for row_columns, row_counts in _rows(texts):
        columns.append(row_columns)
        data.append(row_counts)
        ends.append(ends[-1] + len(row_columns))
    empty = [np.zeros(0, np.int32)]
    parts = (np.concatenate(data or empty), np.concatenate(columns or empty), np.asarray(ends, np.int64))
    return sparse.csr_matrix(parts, shape=(len(ends) - 1, COLUMNS))


def _rows(texts: Iterable[str]) -> Iterator[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]]:
    for text in texts:
        hashes = word_hashes(normalised(text)) % np.uint64(COLUMNS)
        columns, counts = np.unique(hashes.astype(np.int32), return_counts=True)
        yield columns, counts.astype(np.int32)
