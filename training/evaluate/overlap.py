"""The verbatim overlap of a text with training data: runs of at least `size` words, as in 13-gram checks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from training.evaluate.degeneration import words_of

SIZE = 13


class Overlap:
    """Takes the texts to check, then all training texts, one after another, which are not kept."""

    def __init__(self, texts: Sequence[str], size: int = SIZE) -> None:
        self.size = size
        self._lengths = [0] * len(texts)
        self._places: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self._covered: list[set[int]] = [set() for _ in texts]
        for number, text in enumerate(texts):
            words = words_of(text)
            self._lengths[number] = len(words)
            for start in range(len(words) - size + 1):
                self._places[hash(tuple(words[start : start + size]))].append((number, start))

    def learned(self, text: str) -> None:
        words = words_of(text)
        for start in range(len(words) - self.size + 1):
            for number, place in self._places.get(hash(tuple(words[start : start + self.size])), ()):
                self._covered[number].add(place)

    def shares(self) -> list[float]:
        """For each text, the share of its words in such runs."""
        found = []
        for starts, length in zip(self._covered, self._lengths):
            covered: set[int] = set()
            for start in starts:
                covered.update(range(start, start + self.size))
            found.append(len(covered) / length if length else 0.0)
        return found

    def longest(self) -> int:
        """The length of the longest run in words."""
        most = 0
        for starts in self._covered:
            run, before = 0, -2
            for start in sorted(starts):
                run = run + 1 if start == before + 1 else 1
                before = start
                most = max(most, run + self.size - 1)
        return most
