"""The loop guard: tells when a text begins to repeat itself, early enough to keep the repetition out of the log.

A run of words that stood in the text before is suspicious from some 12 words on (what follows is held back) and a loop
from 32 on. So is a stretch of 200 words with few phrases of four words that are new to it. Prose is far from both:
of 250 human stories, 1.3 million words, three set it off.
"""

from __future__ import annotations

from array import array
from collections import Counter

from training.text import WORD

_GRAM = 8
_SUSPICIOUS, _LOOP = 12, 32
_WINDOW, _DISTINCT = 200, 0.5


class LoopGuard:
    def __init__(self, text: str = "") -> None:
        self._clear()
        self.add(text)

    def _clear(self) -> None:
        self._words: array[int] = array("q")
        self._seen: dict[bytes, int] = {}  # every eighth gram: a run of 15 words meets one for certain
        self._run = 0
        self._source = 0
        self.looping = False
        self._phrases: Counter[tuple[int, ...]] = Counter()

    def __len__(self) -> int:
        return len(self._words)

    @property
    def suspicious(self) -> bool:
        return self._run >= _SUSPICIOUS

    def add(self, text: str) -> None:
        for match in WORD.finditer(text):
            self._add(hash(match[0].lower()))

    def _add(self, word: int) -> None:
        words = self._words
        words.append(word)
        size = len(words)
        if self._run and words[self._source] == word:
            self._run += 1
            self._source += 1
            self.looping |= self._run >= _LOOP
        else:
            self._run = 0
        if size >= _GRAM:
            gram = words[size - _GRAM :].tobytes()
            before = self._seen.get(gram)
            if not self._run and before is not None and before < size:
                self._run, self._source = _GRAM, before
            if size % _GRAM == 0 and before is None:
                self._seen[gram] = size
        if size >= 4:
            self._phrases[tuple(words[size - 4 :])] += 1
            if size >= 4 + _WINDOW:
                old = tuple(words[size - 4 - _WINDOW : size - _WINDOW])
                if self._phrases[old] > 1:
                    self._phrases[old] -= 1
                else:
                    del self._phrases[old]
                self.looping |= len(self._phrases) < _DISTINCT * _WINDOW

    def rewind(self, size: int) -> None:
        """Forget all words behind the first `size`: they were not let go."""
        if size == len(self._words):
            return
        words = self._words[:size]
        self._clear()
        for word in words:
            self._add(word)
