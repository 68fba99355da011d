"""Stores the violations that a stage made, for editors to judge. Workers call it; their role may insert, but not change them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Annotated

from django.db import connection, transaction
from pydantic import BaseModel, ConfigDict, Field

from training.common.records import StoredText
from writer.editorial.models import Brief, PrincipleVersion, Take, Violation
from writer.editorial.models.violations import BECAUSE_CHARS, SOURCE_CHARS, WORSE_CHARS, known_by
from writer.editorial.snapshots.rows import consented
from writer.stories.models import Story
from writer.stories.text import checked_text, paragraphs

AT_ONCE = 200
"""Rows in one transaction; few, since takes are long and their stories are locked."""
STORE_LOCK = 8_350_002
"""The key of an advisory lock in PostgreSQL, so that two stages do not store the same violation twice."""


class ViolationRow(BaseModel):
    """`start` to `end` are whole paragraphs of the take, and `worse` their worse wording. `principle` is a key, `version` its number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    take: int = Field(ge=1, lt=2**63)
    start: int = Field(ge=0, lt=2**31)
    end: int = Field(ge=0, lt=2**31)
    worse: Annotated[StoredText, Field(max_length=WORSE_CHARS)]
    principle: str = Field(max_length=60)
    version: int = Field(ge=1, lt=2**31)
    because: Annotated[StoredText, Field(min_length=1, max_length=BECAUSE_CHARS)]
    changed: float = Field(ge=0, le=1)


def store_violations(rows: Iterable[ViolationRow], *, source: str) -> int:
    """Store violations; returns the number of new ones. Skipped are known ones, and invalid ones: the take or the version of the
    principle has been deleted, consent for training was withdrawn, the bounds are not those of paragraphs, or nothing was changed.

    It can be repeated after an interruption: violations are stored in parts, each of them once.
    """
    source = checked_text(source, "source", most=SOURCE_CHARS, one_line=True, required=True)
    left, new = iter(rows), 0
    while part := list(islice(left, AT_ONCE)):
        with transaction.atomic():
            new += _store(part, source)
    return new


def _store(rows: list[ViolationRow], source: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [STORE_LOCK])
    takes = _takes({row.take for row in rows})
    named = PrincipleVersion.objects.filter(principle__key__in={row.principle for row in rows})
    versions = {(version.principle.key, version.number): version for version in named.select_related("principle")}
    made: dict[str, Violation] = {}
    for row in rows:
        take, version = takes.get(row.take), versions.get((row.principle, row.version))
        worse = "\n\n".join(paragraphs(row.worse))
        if take is None or version is None or not _changes(take.text, row, worse):
            continue
        sha256 = known_by(take, row.start, row.end, worse, version)
        made[sha256] = Violation(
            take=take,
            start=row.start,
            end=row.end,
            worse=worse,
            version=version,
            because=row.because,
            changed=row.changed,
            source=source,
            sha256=sha256,
        )
    known = set(Violation.objects.filter(sha256__in=made).values_list("sha256", flat=True))
    fresh = [violation for sha256, violation in made.items() if sha256 not in known]
    return len(Violation.objects.bulk_create(fresh))


def _takes(ids: set[int]) -> dict[int, Take]:
    """The takes with consent for training. Their stories are locked, so that none is deleted and no consent withdrawn meanwhile."""
    stories = Brief.objects.filter(takes__in=ids).values("story")
    list(Story.objects.select_for_update(no_key=True).filter(pk__in=stories).order_by("pk").values_list("pk"))
    return Take.objects.filter(consented("brief")).defer("origins").in_bulk(ids)


def _changes(text: str, row: ViolationRow, worse: str) -> bool:
    """Whether whole paragraphs are replaced by different, non-empty text."""
    begins = row.start == 0 or text.startswith("\n\n", row.start - 2)
    ends = row.end == len(text) or text.startswith("\n\n", row.end)
    if not (row.start < row.end <= len(text) and begins and ends):
        return False
    return bool(worse) and worse.split() != text[row.start : row.end].split()
