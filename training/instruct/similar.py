"""Passages of a corpus, and which of them is most like a text: TF-IDF and the cosine, with sparse matrices.

Words are columns by their hash, so that there is no vocabulary to keep. For P passages of w words and Q texts:

    memory   O(P w): 100,000 passages of 150 words are some 120 MB, three times that while they are built; of the similarities
             BLOCK × CHUNK are there at a time
    time     O(P w) to build it; for each text the sum, over its words, of the passages that have the word
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
"""Passages and texts whose similarities are in memory at once: 4 MB."""

Floats = npt.NDArray[np.float64]


class Found(NamedTuple):
    passage: int
    similarity: float


def cut_passages(text: str, words: int) -> list[str]:
    """Runs of whole paragraphs with about `words` words; none goes over a scene break, or is less than half or more than twice as long."""
    found: list[str] = []
    run: list[str] = []
    taken = 0
    for block in [*paragraphs(text), SCENE_BREAK]:
        count = count_words(block)
        ends = block == SCENE_BREAK or block.startswith("## ")
        if run and (ends or taken + count > words * 1.2):
            found.append("\n\n".join(run))
            run, taken = [], 0
        if not ends:
            run.append(block)
            taken += count
    return [one for one in found if words / 2 <= count_words(one) <= words * 2]


class Similar:
    """The passages as unit vectors: (1 + log of a word's count) × log of its rarity."""

    def __init__(self, passages: Iterable[str]) -> None:
        counts = _counts(passages)
        rows = counts.shape[0]
        having = np.bincount(counts.indices, minlength=COLUMNS)
        self._rarity = np.log((1 + rows) / (1 + having))  # a word of all passages weighs nothing
        self._matrix = self._weighed(counts)

    def __len__(self) -> int:
        return int(self._matrix.shape[0])

    def vectors(self, texts: Iterable[str]) -> Any:
        return self._weighed(_counts(texts))

    def best(self, texts: Any, barred: Sequence[npt.NDArray[np.bool_]], most: float) -> list[Found | None]:
        """For each of at most CHUNK texts the passage that is most like it, up to `most`; of equals the first.

        `texts` is (texts, COLUMNS); each of `barred` is (passages,) and tells which the text may not have.
        """
        best: list[Found | None] = [None] * texts.shape[0]
        for start in range(0, len(self), BLOCK):
            likeness = self._cosines(texts, self._matrix[start : start + BLOCK])
            likeness[likeness > most] = -1.0
            for row, bar in enumerate(barred):
                likeness[row, bar[start : start + BLOCK]] = -1.0
                place = int(likeness[row].argmax())
                value, so_far = float(likeness[row, place]), best[row]
                if value > (so_far.similarity if so_far else 0.0):
                    best[row] = Found(start + place, value)
        return best

    def likeness(self, vector: Any, passages: Sequence[int]) -> Floats:
        """Of one text to some passages."""
        found: Floats = self._cosines(vector, self._matrix[list(passages)])[0]
        return found

    def _cosines(self, texts: Any, passages: Any) -> Floats:
        found: Floats = (texts @ passages.T).toarray()
        return np.round(found, 6)  # so that the last digit of another processor's sums decides nothing

    def _weighed(self, counts: Any) -> Any:
        weighed = counts.astype(np.float64)
        weighed.data = (1 + np.log(weighed.data)) * self._rarity[weighed.indices]
        lengths = np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=1)).ravel())
        each = np.repeat(np.where(lengths > 0, lengths, 1.0), np.diff(weighed.indptr))
        weighed.data /= each
        return weighed


def _counts(texts: Iterable[str]) -> Any:
    """(texts, COLUMNS): how often each word is there."""
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
