"""Two wordings of a passage as one text: what both have, what is gone, what is new.

The alignment is the longest common subsequence of words (rapidfuzz, Indel distance). Where a single space or comma survived between two
changes, a reader sees one change and not two, so such remains are taken into it; paragraph breaks are not, so that paragraphs
stay apart.
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
    """Words that stand in both (`same`), only in the good passage (`gone`), or only in the worse one (`new`)."""

    kind: Kind
    text: str

    @property
    def shown(self) -> str:
        """As a page shows it: a paragraph break that comes or goes is seen only by a sign."""
        return self.text if self.kind == "same" else self.text.replace(BREAK, "¶" + BREAK)


def word_diff(good: str, worse: str) -> list[Piece]:
    """In reading order, what is gone before what is new. The same and the gone pieces are `good`, the same and the new ones `worse`.

    >>> [(piece.kind, piece.text) for piece in word_diff("He kept the tin.", "He kept some mementos.")]
    [('same', 'He kept '), ('gone', 'the tin'), ('new', 'some mementos'), ('same', '.')]
    """
    return [Piece(kind, text) for kind, text in _pieces(_segments(good, worse)) if text]


def _segments(good: str, worse: str) -> Iterator[tuple[bool, str, str]]:
    """(same?, its good side, its worse side), over the whole of both texts."""
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
