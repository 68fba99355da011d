"""Finds marked words in a later revision of the text.

It uses the words, and some text before and after them, as the W3C's Text Quote Selector does. If the same words occur several times,
the occurrence with the most similar context is taken. If they were changed, it is the text between the same contexts, or the most
similar text. A result is `certain` only for unchanged words in a place that is determined by more than the words themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

from rapidfuzz import fuzz

MOST_PLACES = 500
LONG_QUOTE, ENOUGH_AROUND = 24, 12
LIKE = 70.0
"""Similarity, 0 to 100, below which words count as different."""


@dataclass(frozen=True)
class Found:
    start: int
    end: int
    certain: bool


def find(text: str, *, quote: str, before: str, after: str, near: int) -> Found | None:
    """The place of `quote` in `text`, in code points; the search begins at `near`. None if it is not found."""
    places = [match.start() for match, _ in zip(re.finditer(re.escape(quote), text), range(MOST_PLACES))]
    if places:
        kept = {at: _around(text, at, at + len(quote), before, after) for at in places}
        best = max(places, key=lambda at: (kept[at], -abs(at - near)))
        rivals = sum(score >= kept[best] for score in kept.values()) > 1
        known = kept[best] >= min(ENOUGH_AROUND, len(before) + len(after)) or len(quote) >= LONG_QUOTE
        return Found(best, best + len(quote), known and not rivals)
    return _between(text, quote, before, after) or _like(text, quote, near)


def _around(text: str, start: int, end: int, before: str, after: str) -> int:
    """The number of equal characters on both sides."""
    return _same(reversed(text[max(0, start - len(before)) : start]), reversed(before)) + _same(
        text[end : end + len(after)], after
    )


def _same(one: Iterable[str], other: Iterable[str]) -> int:
    return sum(1 for _ in takewhile(lambda letters: letters[0] == letters[1], zip(one, other)))


def _between(text: str, quote: str, before: str, after: str) -> Found | None:
    """The text between the old contexts, if it is not much longer than the words."""
    if not before.strip() or not after.strip():
        return None
    start = text.find(before)
    if start < 0 or text.count(before) > 1:
        return None
    start += len(before)
    end = text.find(after, start)
    if end < 0 or not text[start:end].strip() or end - start > 3 * len(quote) + 40:
        return None
    return Found(start, end, certain=False)


def _like(text: str, quote: str, near: int) -> Found | None:
    """The most similar words, first around `near`, then anywhere."""
    if len(quote) < 8:
        return None
    reach = 2000 + len(quote)
    for start in (max(0, near - reach), 0):
        window = text[start : near + reach] if start or near < reach else text
        found = fuzz.partial_ratio_alignment(quote, window, score_cutoff=LIKE)
        if found is not None and found.score >= LIKE:
            return Found(start + found.dest_start, start + found.dest_end, certain=False)
    return None
