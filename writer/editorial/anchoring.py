"""Finding marked words again in a later revision of the text.

As the W3C's Text Quote Selector has it: the words, and a little of what stood before and after them. Where the same words stand
in several places, the one whose surroundings are most alike is taken; where they were changed, what stands between the same
surroundings, or what is most like them. `certain` is said only of words that stand there unchanged, in a place that is known by more than
the words themselves.
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
"""Of 100: words that are less alike than this are other words."""


@dataclass(frozen=True)
class Found:
    start: int
    end: int
    certain: bool


def find(text: str, *, quote: str, before: str, after: str, near: int) -> Found | None:
    """Where `quote` stands in `text`, in code points; `near` is the offset where it is looked for first. None: it is gone."""
    places = [match.start() for match, _ in zip(re.finditer(re.escape(quote), text), range(MOST_PLACES))]
    if places:
        kept = {at: _around(text, at, at + len(quote), before, after) for at in places}
        best = max(places, key=lambda at: (kept[at], -abs(at - near)))
        rivals = sum(score >= kept[best] for score in kept.values()) > 1
        known = kept[best] >= min(ENOUGH_AROUND, len(before) + len(after)) or len(quote) >= LONG_QUOTE
        return Found(best, best + len(quote), known and not rivals)
    return _between(text, quote, before, after) or _like(text, quote, near)


def _around(text: str, start: int, end: int, before: str, after: str) -> int:
    """How many characters on both sides are still the same."""
    return _same(reversed(text[max(0, start - len(before)) : start]), reversed(before)) + _same(
        text[end : end + len(after)], after
    )


def _same(one: Iterable[str], other: Iterable[str]) -> int:
    return sum(1 for _ in takewhile(lambda letters: letters[0] == letters[1], zip(one, other)))


def _between(text: str, quote: str, before: str, after: str) -> Found | None:
    """What stands between the old surroundings, if it is not much longer than the words were."""
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
    """The words that are most alike: around `near` first, then anywhere."""
    if len(quote) < 8:
        return None
    reach = 2000 + len(quote)
    for start in (max(0, near - reach), 0):
        window = text[start : near + reach] if start or near < reach else text
        found = fuzz.partial_ratio_alignment(quote, window, score_cutoff=LIKE)
        if found is not None and found.score >= LIKE:
            return Found(start + found.dest_start, start + found.dest_end, certain=False)
    return None
