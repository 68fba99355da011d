"""The text of a story: which characters it may contain, and who wrote each paragraph."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, TypeAlias

from training.common.text import count_words, paragraphs
from writer.refusals import Refused

__all__ = [
    "Origin",
    "Origins",
    "attribute",
    "checked_text",
    "count_words",
    "paragraphs",
    "sha256",
]

_UNFIT = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")
_MOST_COMPARISONS = 1_000_000
"""With more changed paragraphs, comparing them takes too long."""

Origin: TypeAlias = dict[str, Any]
"""{"generation": id} or {"person": id}, for one paragraph; with {"from": id} where a person changed what a generation wrote."""
Origins: TypeAlias = list[Origin]


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def attribute(old: str, origins: Sequence[Origin], new: str, person: int) -> Origins:
    """The origin of each paragraph of `new`: a paragraph of `old` keeps its origin, all others are the person's.

    `origins` are those of `old`, one a paragraph. A paragraph that a person changed keeps a reference to its generation.
    """
    before, after = paragraphs(old), paragraphs(new)
    unknown: Origin = {"person": person}
    known = [*origins[: len(before)], *[unknown] * (len(before) - len(origins))]
    result: Origins = []
    for tag, i1, i2, j1, j2 in _changes(before, after):
        for offset in range(j2 - j1):
            was = known[i1 + offset] if i1 + offset < i2 else unknown
            source = was.get("generation") or was.get("from")
            if tag == "equal":
                result.append(was)
            elif tag == "replace" and source:
                result.append({"person": person, "from": source})
            else:
                result.append(unknown)
    return result


def _changes(before: list[str], after: list[str]) -> Iterator[tuple[str, int, int, int, int]]:
    """The changes from `before` to `after` as difflib's opcodes. Equal ends are skipped first, since a save usually changes one place."""
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    i, j = len(before) - end, len(after) - end
    yield "equal", 0, start, 0, start
    if (i - start) * (j - start) <= _MOST_COMPARISONS:
        for tag, i1, i2, j1, j2 in SequenceMatcher(None, before[start:i], after[start:j], autojunk=False).get_opcodes():
            yield tag, start + i1, start + i2, start + j1, start + j2
    else:
        yield "replace", start, i, start, j
    yield "equal", i, len(before), j, len(after)


def generated(text: str, generation: object) -> Origins:
    """The origins of text that a generation wrote."""
    return [{"generation": str(generation)} for _ in paragraphs(text)]


def checked_text(value: str, field: str, *, most: int, one_line: bool = False, required: bool = False) -> str:
    """The text as it is stored. Raises `Refused` with what a person can correct."""
    name = field.replace("_", " ")
    if len(value) > most:
        raise Refused(f"The {name} has {len(value):,} characters; the limit is {most:,}.", field=field)
    value = value.replace("\r\n", "\n").replace("\r", "\n")
    if one_line:
        value = " ".join(value.split())
    unfit = _UNFIT.search(value)
    if unfit:
        kind = "half of a character" if unfit[0] >= "\ud800" else "a control character"
        raise Refused(
            f"The {name} contains {kind} (U+{ord(unfit[0]):04X}, number {unfit.start() + 1} of its characters) "
            "that cannot be stored. Please remove it.",
            field=field,
        )
    if required and not value.strip():
        raise Refused(f"Please write a {name}.", field=field)
    return value
