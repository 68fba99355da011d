"""What a reader hands on: stories as they stand in the source, not cleaned and not judged."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Draft:
    """A story as a source has it.

    `text` is in the format of `training.common.text`. `marked_as` is "play" or "verse" where the source itself says so.
    `facts` is what else a record keeps: pd_scope, license, translators, year, ...
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
    """All that was found in one source: stories, what was left out as no story ("colophon": 1), and what to tell."""

    drafts: list[Draft] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
