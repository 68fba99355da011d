"""Shared by the builders of rows: the row, and the briefs and days that a query includes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.db.models import Q, QuerySet

from writer.editorial.models import Pair, PairSource
from writer.editorial.snapshots.query import SnapshotQuery

Editor = int | None
"""None if the row was imported, its editor has left, or nobody has judged it."""


@dataclass
class Row:
    """A row to be stored. `by` contains its editors with their shares, which add up to 1."""

    sha256: str
    brief: int
    chosen: int | None = None
    rejected: int | None = None
    passage: dict[str, Any] | None = None
    label: float = 1.0
    origin: dict[str, Any] = field(default_factory=dict)
    by: dict[Editor, float] = field(default_factory=dict)


def of_arenas() -> QuerySet[Pair]:
    """Pairs on held-out prompts, which never become rows."""
    return Pair.objects.filter(source=PairSource.ARENA)


def consented(path: str) -> Q:
    """The brief at `path` belongs to no story, or its writer consents to training."""
    return Q(**{f"{path}__story": None}) | Q(**{f"{path}__story__sharing__training": True})


def period(query: SnapshotQuery, path: str = "created") -> Q:
    found = Q()
    if query.since:
        found &= Q(**{f"{path}__gte": datetime.combine(query.since, time(), UTC)})
    if query.until:
        found &= Q(**{f"{path}__lt": datetime.combine(query.until + timedelta(days=1), time(), UTC)})
    return found
