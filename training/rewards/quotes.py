"""Checks that a judge's quotes are in the story: others cannot be a reason for a score."""

from __future__ import annotations

import unicodedata

import regex

_MARKS = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "–": "-", "—": "-", "…": "..."}
)
_AROUND = " \t\n\"'.,;:!?-*_"
_GAP = regex.compile(r"\s*(?:\[\.\.\.\]|\.\.\.)\s*")
LEAST = 6
"""Letters that a part of a quote must have to be searched for: shorter parts are in every story."""


def plain(text: str) -> str:
    """The text without details that a judge may copy differently: kinds of quotes and dashes, blanks, capitals."""
    return " ".join(unicodedata.normalize("NFKC", text).translate(_MARKS).casefold().split())


def stands_in(quote: str, plain_story: str) -> bool:
    """Whether all parts of the quote, which ellipses may separate, occur in the story in order.

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
