"""Imports texts by people as references, from JSONL with title, premise, text, author and, optionally, source."""

from __future__ import annotations

import json
from typing import IO, NamedTuple

from django.db import connection, transaction
from django.db.models import Q

from writer.accounts.audit import record
from writer.accounts.models import User
from writer.editorial.messages import completion_messages, digest
from writer.editorial.models import SnapshotRow
from writer.editorial.operations.freeze import brief_of, take_of
from writer.refusals import Missing, NotNow, Refused
from writer.stories.checks import checked_premise, checked_story, checked_target, checked_title
from writer.stories.text import checked_text, count_words, paragraphs
from writer.studio.held_out import is_held_out
from writer.studio.models import ArenaTake, Reference
from writer.studio.models.references import AUTHOR_CHARS, SOURCE_CHARS

FILE_BYTES, MOST_LINES = 50_000_000, 1_000


class Line(NamedTuple):
    number: int
    title: str
    premise: str
    text: str
    author: str
    source: str
    sha256: str
    """The hash of the text, as in its take."""


def import_references(*, by: User, file: IO[bytes]) -> int:
    """Import all texts or none. Returns the number of new ones; known texts are skipped."""
    lines = _read(file)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE studio_reference IN SHARE ROW EXCLUSIVE MODE")
        _refuse_learned(lines)
        known = set(
            Reference.objects.filter(take__sha256__in=[line.sha256 for line in lines]).values_list(
                "take__sha256", flat=True
            )
        )
        fresh: dict[str, Line] = {}
        for line in lines:
            if line.sha256 not in known:
                fresh.setdefault(line.sha256, line)
        for line in fresh.values():
            brief = brief_of(None, title=line.title, premise=line.premise, target=count_words(line.text))
            Reference.objects.create(take=take_of(brief, line.text), author=line.author, source=line.source, by=by)
        record(by, "reference.import", f"{len(fresh)} references", number=len(fresh))
    return len(fresh)


def delete_reference(*, by: User, reference_id: int) -> None:
    """Delete a reference with its text and its brief. Raises NotNow if an arena has used it."""
    with transaction.atomic():
        found = (
            Reference.objects.select_for_update(of=("self",))
            .select_related("take__brief")
            .filter(pk=reference_id)
            .first()
        )
        if found is None:
            raise Missing
        if ArenaTake.objects.filter(take=found.take).exists():
            raise NotNow("An arena has used this text, so it cannot be deleted.")
        found.delete()
        found.take.brief.delete()
        record(by, "reference.delete", f"{found.take.brief.title} by {found.author}")


def _read(file: IO[bytes]) -> list[Line]:
    """All lines that are not empty. Raises `Refused` with the number of the first invalid line, and the reason."""
    content = file.read(FILE_BYTES + 1)
    if len(content) > FILE_BYTES:
        raise Refused(f"The file has more than {FILE_BYTES:,} bytes.", field="file")
    raw = [(number, line) for number, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    if not raw:
        raise Refused("The file has no lines.", field="file")
    if len(raw) > MOST_LINES:
        raise Refused(f"The file has more than {MOST_LINES:,} lines.", field="file")
    found = []
    for number, line in raw:
        try:
            found.append(_line(number, line))
        except Refused as refusal:
            raise Refused(f"Line {number}: {refusal.detail}", field="file") from None
    return found


def _line(number: int, raw: bytes) -> Line:
    try:
        values = json.loads(raw)
    except (ValueError, RecursionError):
        raise Refused("This is not JSON.") from None
    if not isinstance(values, dict):
        raise Refused("This is not an object with title, premise, text and author.")
    given = {name: values.get(name) or "" for name in ("title", "premise", "text", "author", "source")}
    for name, value in given.items():
        if not isinstance(value, str):
            raise Refused(f"The {name} is not a text.")
    text = "\n\n".join(paragraphs(checked_story(given["text"]).strip()))
    if not text:
        raise Refused("Please write a text.")
    checked_target(count_words(text))
    return Line(
        number,
        checked_title(given["title"]),
        checked_premise(given["premise"]),
        text,
        checked_text(given["author"], "name_of_the_author", most=AUTHOR_CHARS, one_line=True, required=True),
        checked_text(given["source"], "source", most=SOURCE_CHARS, one_line=True),
        digest(completion_messages(text)),
    )


def _refuse_learned(lines: list[Line]) -> None:
    """Raise Refused if a run learned from a brief or text of these lines, which would be compared on its training data."""
    texts = [line.sha256 for line in lines]
    rows = SnapshotRow.objects.filter(snapshot__runs__isnull=False, brief__isnull=False).filter(
        Q(brief__title__in={line.title for line in lines}) | Q(chosen__sha256__in=texts) | Q(rejected__sha256__in=texts)
    )
    briefs: set[tuple[str, str]] = set()
    learned: set[str] = set()
    for sha256, title, premise, chosen, rejected in rows.values_list(
        "brief__sha256", "brief__title", "brief__premise", "chosen__sha256", "rejected__sha256"
    ):
        if not is_held_out(sha256):
            briefs.add((title, premise))
            learned |= {chosen, rejected}
    for line in lines:
        if (line.title, line.premise) in briefs or line.sha256 in learned:
            raise Refused(
                f"Line {line.number}: a run has this brief or this text among its data, so it is not held out.",
                field="file",
            )
