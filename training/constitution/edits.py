"""Edits of a text, each as words to find and words to replace them with, and the share of a text that was changed.

A rewrite in the form of edits is small by construction, cheap for a long text, and cannot be of another text.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import regex
from pydantic import BaseModel, ConfigDict, Field
from rapidfuzz.distance import Levenshtein

from training.common.text import WORD

MAX_EDITS = 8
_SIMPLIFIED = str.maketrans("“”‘’«»—–\u00a0", '""\'\'""-- ')
"""Each character is replaced by one character, so that offsets stay the same."""


class Edit(BaseModel):
    model_config = ConfigDict(extra="forbid")

    find: str = Field(min_length=1, max_length=4000)
    replace: str = Field(max_length=4000)


class InvalidEdit(ValueError):
    """An edit cannot be applied; the message says why."""


def apply_edits(text: str, edits: Sequence[Edit]) -> str:
    """Return the text with all edits applied.

    Quotes, dashes and spaces of any kind match each other in `find`, since models often change them. `replace` gets the quotes of the
    text. Raises InvalidEdit if a `find` does not occur exactly once, or if two overlap.

    >>> apply_edits("“Come in,” she said.", [Edit(find='"Come in,"', replace='"Come in, my dear,"')])
    '“Come in, my dear,” she said.'
    """
    plain = text.translate(_SIMPLIFIED)
    places = []
    for edit in edits:
        find = edit.find.translate(_SIMPLIFIED)
        start = plain.find(find)
        if start < 0:
            raise InvalidEdit(f"“{edit.find[:60]}” does not occur in the text")
        if plain.find(find, start + 1) >= 0:
            raise InvalidEdit(f"“{edit.find[:60]}” occurs more than once in the text")
        places.append((start, start + len(find), with_quotes_of(text, edit.replace)))
    places.sort()
    for (_, end, _), (start, *_) in pairwise(places):
        if start < end:
            raise InvalidEdit("two edits overlap")
    for start, end, new in reversed(places):
        text = text[:start] + new + text[end:]
    return text


def with_quotes_of(text: str, words: str) -> str:
    """Return `words` with curly quotes if the text has only those: the two texts of a pair must not differ in their quotes."""
    if '"' not in text and ("“" in text or "”" in text):
        words = regex.sub(r'(^|[\s(\[—–-])"', r"\1“", words).replace('"', "”")
    if "'" not in text and ("’" in text or "‘" in text):
        words = regex.sub(r"(^|[\s(\[—–“-])'", r"\1‘", words).replace("'", "’")
    return words


def changed_share(before: str, after: str) -> float:
    """The Levenshtein distance in words, divided by the words of the longer text: 0 to 1. Punctuation marks count as words."""
    return Levenshtein.normalized_distance(_tokens(before), _tokens(after))


def _tokens(text: str) -> list[str]:
    return regex.findall(rf"{WORD.pattern}|[^\s\w]|\n\n", text, flags=regex.VERSION1)
