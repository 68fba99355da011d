"""What a reader returns: stories as the source has them, neither cleaned nor filtered."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Draft:
    """A story as a source has it.

    `text` is in the format of `training.common.text`. `marked_as` is "play" or "verse" if the source marks it so.
    `facts` are kept in the record: pd_scope, license, translators, year and the like.
    """

    title: str
    text: str
    author: str = ""
    anthology: str = ""
    language: str = ""
    id: str = ""
    marked_as: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Reading:
    """What was found in one source: its stories, counts of skipped pages ("colophon": 1), and notes for the report."""

    drafts: list[Draft] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
