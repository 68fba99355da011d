"""A check that a judge's quotes stand in the story: words that do not cannot be a reason for a score."""

from __future__ import annotations

import unicodedata

import regex

_MARKS = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "–": "-", "—": "-", "…": "..."}
)
_AROUND = " \t\n\"'.,;:!?-*_"
_GAP = regex.compile(r"\s*(?:\[\.\.\.\]|\.\.\.)\s*")
LEAST = 6
"""Letters that a part of a quote must have to be searched for: shorter ones stand in every story."""


def plain(text: str) -> str:
    """The text without what a judge may write differently when it copies: kinds of quotes and dashes, blanks, capitals."""
    return " ".join(unicodedata.normalize("NFKC", text).translate(_MARKS).casefold().split())


def stands_in(quote: str, plain_story: str) -> bool:
    """Whether all parts of the quote, which ellipses may separate, stand in the story in their order.

    >>> stands_in("‘He came ... nobody spoke’", plain("At last he came in. He sat down. Nobody spoke."))
    True
    """
    parts = [part.strip(_AROUND) for part in _GAP.split(plain(quote))]
    parts = [part for part in parts if len(part) >= LEAST] or [part for part in parts if part]
    at = 0
    for part in parts:
        found = plain_story.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return bool(parts)
