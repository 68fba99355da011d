"""The loop guard: detects when a text begins to repeat itself, early enough to keep the repetition out of the log.

There are three kinds of loops: a run of 32 words that occurred before; 200 words with few different phrases of four words; and one
word 15 times in 48 words, since models also repeat a name in ever new order. From 12 words of a run, or 11 occurrences of a word, the
text is suspicious and is held back. Prose is far from all three: three of 250 human stories (1.3 million words) trigger it.

Two more are loops in which the number of words stands still, so that a story would never reach its length: inside a word ("BabaBabaBaba"),
and without words ("!!!!!!").
"""

from __future__ import annotations

from array import array
from collections import Counter

from training.common.text import WORD

_GRAM = 8
_SUSPICIOUS, _LOOP = 12, 32
_WINDOW, _DISTINCT = 200, 0.5
_WORD_WINDOW, _WORD_SUSPICIOUS, _WORD_LOOP = 48, 11, 15
_LONG_WORD, _PERIOD = 40, 13
"""Letters of which at least three repetitions are seen. Languages without spaces have words as long, but none that repeat themselves."""
_WORDLESS_SUSPICIOUS, _WORDLESS_LOOP = 40, 100
"""Characters without a word among them. A line of dashes or stars has 80 at most."""


class LoopGuard:
    def __init__(self, text: str = "") -> None:
        """`text` is the story so far. Its own repetitions do not count, since a person may have written it."""
        self._given = 0
        self._clear()
        self.add(text)
        self._wordless = 0
        self.looping = False
        self._given = len(self._words)

    def _clear(self) -> None:
        self._words: array[int] = array("q")
        self._seen: dict[bytes, int] = {}  # every eighth gram: any run of 15 words contains one
        self._run = 0
        self._source = 0
        self.looping = False
        self._phrases: Counter[tuple[int, ...]] = Counter()
        self._recent: Counter[int] = Counter()
        self._frequent = 0
        self._wordless = 0

    def __len__(self) -> int:
        return len(self._words)

    @property
    def suspicious(self) -> bool:
        return self._run >= _SUSPICIOUS or self._frequent > 0 or self._wordless >= _WORDLESS_SUSPICIOUS

    def add(self, text: str) -> None:
        end = -self._wordless
        for match in WORD.finditer(text):
            end = match.end()
            self._add(hash(match[0].lower()))
            self.looping |= end - match.start() >= _LONG_WORD and _repeats(match[0][-_LONG_WORD:])
        self._wordless = len(text) - end
        self.looping |= self._wordless >= _WORDLESS_LOOP

    def _add(self, word: int) -> None:
        words = self._words
        words.append(word)
        size = len(words)
        self._count(size)
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
                self.looping |= size >= self._given + _WINDOW and len(self._phrases) < _DISTINCT * _WINDOW

    def _count(self, size: int) -> None:
        """Update the counts of the last words, and how many of them occur too often."""
        if size > _WORD_WINDOW:
            gone = self._words[size - 1 - _WORD_WINDOW]
            self._frequent -= self._recent[gone] == _WORD_SUSPICIOUS
            self._recent[gone] -= 1
            if not self._recent[gone]:
                del self._recent[gone]
        last = self._words[-1]
        self._recent[last] += 1
        self._frequent += self._recent[last] == _WORD_SUSPICIOUS
        self.looping |= self._recent[last] >= _WORD_LOOP

    def rewind(self, size: int) -> None:
        """Forget all words after the first `size`, which were not released."""
        self._wordless = 0
        self.looping = False
        if size == len(self._words):
            return
        words = self._words[:size]
        self._clear()
        for word in words:
            self._add(word)
        self.looping = False


def _repeats(letters: str) -> bool:
    """Whether they are one piece of at most _PERIOD letters again and again."""
    return any(letters[period:] == letters[:-period] for period in range(1, _PERIOD + 1))
