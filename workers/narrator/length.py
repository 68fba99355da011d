"""The length contract: a story ends near its target by itself, or is landed (brought to an end there), and is not cut.

T is the target in words. From T - max(8 %, 120) on, the model is asked to land, with exact word counts, and again whenever half
of the remaining words are written. From 0.92 T (at the latest 60 words before T) text is released in whole sentences, so that there
is always a good place to end. The model's own end is accepted from 0.955 T; the end of a paragraph from 0.98 T; the end of a sentence
outside a quotation from 1.02 T, and of any sentence from 1.035 T. Before 1.05 T is passed, the story ends after the last whole
sentence. Only if there is none, it is cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import regex

from training.common.text import WORD, count_words

_LANDING_SHARE, _LANDING_WORDS = 0.08, 120
_SMALLEST_STEP = 75
"""With fewer words left, asking again is not worth a new prompt."""


@dataclass(frozen=True)
class Plan:
    """The next request: whether to land, and at how many words to ask again with exact numbers."""

    landing: bool
    again_at: int | None
    slack: int
    """Until so many words after `again_at` only the end of a paragraph will do, then the end of a sentence."""


@dataclass(frozen=True)
class Length:
    target: int

    def plan(self, written: int) -> Plan:
        left = self.target - written
        landing_from = int(max(_LANDING_SHARE * self.target, _LANDING_WORDS))
        slack = max(10, min(left, landing_from) // 6)
        if left > landing_from:
            return Plan(landing=False, again_at=self.target - landing_from, slack=slack)
        return Plan(landing=True, again_at=written + left // 2 if left // 2 >= _SMALLEST_STEP else None, slack=slack)

    def accepts_end(self, written: int) -> bool:
        """Whether the model may end its turn here."""
        return written >= 0.955 * self.target

    def by_sentence(self, written: int) -> bool:
        """Whether text is released in whole sentences from here on."""
        return written >= min(0.92 * self.target, self.target - 60)

    def kept(self, written: int) -> bool:
        """Whether the length is within 10 percent of the target."""
        return abs(written - self.target) <= 0.1 * self.target

    def ends_here(self, written: int, *, paragraph: bool, closed: bool) -> bool:
        """Whether the narrator ends the story at this end of a sentence."""
        share = written / self.target
        return (paragraph and share >= 0.98) or (closed and share >= 1.02) or share >= 1.035

    @property
    def most_words(self) -> int:
        return int(1.05 * self.target)

    def passed(self, written: int) -> bool:
        return written > self.most_words

    def likely_tokens(self, written: int) -> int:
        """Tokens that the rest of the story needs, in a language with two tokens a word."""
        return max(self.most_words - written, 0) * 2 + 64

    def most_tokens(self, written: int) -> int:
        """An upper bound for one request, so that a model stops by itself even when nobody reads its answer."""
        return max(int(1.1 * self.target) - written, 0) * 4 + 256


@dataclass(frozen=True)
class End:
    at: int
    """The sentence ends before this character."""
    paragraph: bool


_SENTENCE_END = regex.compile(
    r"""(?: (?<!\b(?:Mr|Mrs|Ms|Dr|St|Prof|Rev|Capt|Col|Gen|Lt|Sgt|Mme|Mlle|Esq|vs|\p{Lu})) \. # no title, no initial
          | [!?…] ) [.!?…]* ["'”’»)\]*_]* (?= \s*\n\s*\S | \s+[^\s\p{Ll}] ) | [。！？]+ [」』”’）]* (?= [^」』”’）] )""",
    regex.VERBOSE | regex.VERSION1,
)
_BEFORE = 80


def sentence_ends(before: str, text: str) -> Iterator[End]:
    """Ends of sentences in `text`, which follows `before`. An end counts only if the text after it is known.

    >>> [end.at for end in sentence_ends("It was Mr. Pym", ". He left. Then")]
    [1, 10]
    """
    before = before[-_BEFORE:]
    whole = before + text
    for match in _SENTENCE_END.finditer(whole, max(0, len(before) - 8)):
        if match.end() >= len(before):
            yield End(match.end() - len(before), whole.startswith("\n", match.end()))


_OPEN, _CLOSE = "“«「『", "”»」』"


def quotation_closed(paragraph: str) -> bool:
    """Whether every quotation that `paragraph` opens is closed in it."""
    opened = sum(paragraph.count(mark) for mark in _OPEN)
    return paragraph.count('"') % 2 == 0 and opened <= sum(paragraph.count(mark) for mark in _CLOSE)


def end_of_word(text: str, number: int) -> int:
    """Where the word with this number ends, counted from 1; the end of `text` if it has fewer."""
    for index, match in enumerate(WORD.finditer(text), 1):
        if index >= number:
            return match.end()
    return len(text)


class WordCount:
    """Counts a text that comes in pieces, exactly as `count_words` counts the whole."""

    def __init__(self, text: str = "") -> None:
        self.words = count_words(text)
        self._tail = _last_word(text)

    def add(self, text: str) -> int:
        """Add a piece; returns the new sum."""
        joined = self._tail + text
        self.words += count_words(joined) - (count_words(self._tail) if self._tail else 0)
        self._tail = _last_word(joined)
        return self.words


def _last_word(text: str) -> str:
    """The last word, which the next piece may continue; at most 100 characters."""
    tail = text[-100:]
    blank = max(tail.rfind(" "), tail.rfind("\n"))
    return tail[blank + 1 :]
