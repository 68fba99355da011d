"""The word difference of two wordings of a passage: common, deleted and new words.

The alignment is the longest common subsequence of words (rapidfuzz, Indel distance). A single space or comma between two
changes is included, since readers see them as one change; paragraph breaks are not, so that paragraphs stay separate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import regex
from rapidfuzz.distance import Indel

from training.common.text import WORD

Kind = Literal["same", "gone", "new"]
BREAK = "\n\n"
_TOKEN = regex.compile(rf"{WORD.pattern}|\n\n|\s|.", regex.VERSION1)


@dataclass(frozen=True)
class Piece:
    """Words in both passages (`same`), only in the good one (`gone`), or only in the worse one (`new`)."""

    kind: Kind
    text: str

    @property
    def shown(self) -> str:
        """The text for a page, which shows added or deleted paragraph breaks by a sign."""
        return self.text if self.kind == "same" else self.text.replace(BREAK, "¶" + BREAK)


def word_diff(good: str, worse: str) -> list[Piece]:
    """The pieces in reading order, deleted before new ones. Same and deleted pieces are `good`, same and new ones `worse`.

    >>> [(piece.kind, piece.text) for piece in word_diff("He kept the tin.", "He kept some mementos.")]
    [('same', 'He kept '), ('gone', 'the tin'), ('new', 'some mementos'), ('same', '.')]
    """
    return [Piece(kind, text) for kind, text in _pieces(_segments(good, worse)) if text]


def _segments(good: str, worse: str) -> Iterator[tuple[bool, str, str]]:
    """(whether equal, good side, worse side), for the whole of both texts."""
    ours, theirs = _TOKEN.findall(good), _TOKEN.findall(worse)
    for code in Indel.opcodes(ours, theirs):
        before = "".join(ours[code.src_start : code.src_end])
        after = "".join(theirs[code.dest_start : code.dest_end])
        yield code.tag == "equal", before, after


def _pieces(segments: Iterator[tuple[bool, str, str]]) -> Iterator[tuple[Kind, str]]:
    gone = new = between = ""
    changing = False
    for same, before, after in segments:
        if not same:
            gone, new = gone + between + before, new + between + after
            between, changing = "", True
        elif changing and BREAK not in before and not WORD.search(before):
            between = before
        else:
            yield from (("gone", gone), ("new", new), ("same", between + before))
            gone = new = between = ""
            changing = False
    yield from (("gone", gone), ("new", new), ("same", between))
