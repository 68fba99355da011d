"""Changes to a text as words to find and words to put in their place, and how much a text was changed.

A rewrite that comes as edits is small by construction, cheap for a long text, and certainly one of this text.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import regex
from pydantic import BaseModel, ConfigDict, Field
from rapidfuzz.distance import Levenshtein

from training.common.text import WORD

MOST_EDITS = 8
_ALIKE = str.maketrans("“”‘’«»—–\u00a0", '""\'\'""-- ')
"""One character for one, so that places stay the same."""


class Edit(BaseModel):
    model_config = ConfigDict(extra="forbid")

    find: str = Field(min_length=1, max_length=4000)
    replace: str = Field(max_length=4000)


class NotThere(ValueError):
    """An edit that cannot be made, and why."""


def apply(text: str, edits: Sequence[Edit]) -> str:
    """The text with all edits made. Each `find` must stand in it just once, and none may touch another; raises NotThere.

    Kinds of quotes, dashes and blanks are taken to be the same where words are looked for, since models change them without a thought; what
    is put in is written with the text's own quotes.

    >>> apply("“Come in,” she said.", [Edit(find='"Come in,"', replace='"Come in, my dear,"')])
    '“Come in, my dear,” she said.'
    """
    plain = text.translate(_ALIKE)
    places = []
    for edit in edits:
        find = edit.find.translate(_ALIKE)
        start = plain.find(find)
        if start < 0:
            raise NotThere(f"“{edit.find[:60]}” does not stand in the text")
        if plain.find(find, start + 1) >= 0:
            raise NotThere(f"“{edit.find[:60]}” stands in the text more than once")
        places.append((start, start + len(find), as_written_in(text, edit.replace)))
    places.sort()
    for (_, end, _), (start, *_) in pairwise(places):
        if start < end:
            raise NotThere("two of the edits touch the same words")
    for start, end, new in reversed(places):
        text = text[:start] + new + text[end:]
    return text


def as_written_in(text: str, words: str) -> str:
    """`words` with curly quotes where the text has no others: a pair must not be told apart by the shape of its quotes."""
    if '"' not in text and ("“" in text or "”" in text):
        words = regex.sub(r'(^|[\s(\[—–-])"', r"\1“", words).replace('"', "”")
    if "'" not in text and ("’" in text or "‘" in text):
        words = regex.sub(r"(^|[\s(\[—–“-])'", r"\1‘", words).replace("'", "’")
    return words


def changed_share(before: str, after: str) -> float:
    """Words that were put in, taken out or exchanged, for each word of the longer text: 0 to 1. Signs count as words."""
    return Levenshtein.normalized_distance(_parts(before), _parts(after))


def _parts(text: str) -> list[str]:
    return regex.findall(rf"{WORD.pattern}|[^\s\w]|\n\n", text, flags=regex.VERSION1)
