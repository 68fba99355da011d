"""Makes, changes and deletes marks on passages, and undoes these."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils import timezone

from writer.accounts.models import User
from writer.editorial.acts import FinishAct, MarkAct, RemarkAct, UnmarkAct, Wording
from writer.editorial.models import Mark, Severity, Sitting, Take
from writer.editorial.operations.judge_pair import Before, known_versions
from writer.editorial.reading import reading_for, sides, take_for
from writer.refusals import Missing, NotNow, Refused
from writer.stories.models import Generation
from writer.stories.text import checked_text, paragraphs

QUOTE_CHARS, AROUND = 5000, 48
MOST_MARKS = 2000
"""Marks of one editor on one take, a limit against runaway scripts."""


def mark(by: User, asked: MarkAct) -> tuple[UUID, Before]:
    take = _take(by, asked)
    text = take.text
    if not asked.start < asked.end <= len(text) or text[asked.start : asked.end] != asked.quote:
        raise Refused("These are not the words that stand there. Load the page again.", field="quote")
    if not asked.quote.strip():
        raise Refused("It contains no words.", field="quote")
    if len(asked.quote) > QUOTE_CHARS:
        raise Refused(f"That is {len(asked.quote):,} characters; {QUOTE_CHARS:,} can be marked at once.", field="quote")
    if Mark.objects.filter(pk=asked.id).exists():
        raise Refused("There is a mark with this id already.", field="id")
    if Mark.objects.filter(take=take, by=by, removed=None).count() >= MOST_MARKS:
        raise Refused(f"You have {MOST_MARKS:,} marks on this text, which is the limit for one editor.")
    block = len(paragraphs(text[: asked.start] + "x")) - 1
    Mark.objects.create(
        id=asked.id,
        take=take,
        by=by,
        start=asked.start,
        end=asked.end,
        quote=asked.quote,
        before=text[max(0, asked.start - AROUND) : asked.start],
        after=text[asked.end : asked.end + AROUND],
        block=block,
        model_id=_model_of(take, block),
        **_wording(asked, asked.quote),
    )
    return asked.id, {}


def _take(by: User, asked: MarkAct) -> Take:
    if (asked.take is None) == (asked.reading is None):
        raise Refused("A mark is on a take, or on one side of a reading.", field="take")
    if asked.take is not None:
        return take_for(by, asked.take)
    assert asked.reading is not None
    found = reading_for(by, asked.reading)
    return sides(found)[asked.side == "right"]


def _model_of(take: Take, block: int) -> int | None:
    """The version that wrote this paragraph, even if a person has changed it since."""
    if take.model_id:
        return take.model_id
    origin = take.origins[block] if block < len(take.origins) else {}
    generation = origin.get("generation") or origin.get("from")
    if not generation:
        return None
    return Generation.objects.filter(pk=generation).values_list("model_id", flat=True).first()


def _wording(asked: Wording, quote: str) -> dict[str, Any]:
    if asked.severity not in Severity.values:
        raise Refused("The severity must be 1 (minor), 2 (major) or 3 (critical).", field="severity")
    better = checked_text(asked.better, "better", most=20_000).strip()
    if better == quote.strip():
        raise Refused("The better wording is the same as the text.", field="better")
    return {
        "version": known_versions([asked.version])[0],
        "severity": asked.severity,
        "note": checked_text(asked.note, "note", most=4000).strip(),
        "better": better,
    }


def _own(by: User, mark_id: UUID) -> Mark:
    found = Mark.objects.select_for_update().filter(pk=mark_id, by=by).first()
    if found is None:
        raise Missing
    if found.removed is not None:
        raise NotNow("This mark has been deleted.")
    return found


def undo_mark(by: User, subject: str, before: Before) -> None:  # noqa: ARG001
    Mark.objects.filter(pk=subject, removed=None).update(removed=timezone.now())


def remark(by: User, asked: RemarkAct) -> tuple[UUID, Before]:
    found = _own(by, asked.id)
    before = {name: getattr(found, name) for name in ("version_id", "severity", "note", "better")}
    for name, value in _wording(asked, found.quote).items():
        setattr(found, name, value)
    found.save()
    return found.pk, before


def undo_remark(by: User, subject: str, before: Before) -> None:  # noqa: ARG001
    Mark.objects.filter(pk=subject).update(**before)


def unmark(by: User, asked: UnmarkAct) -> tuple[UUID, Before]:
    found = _own(by, asked.id)
    found.removed = timezone.now()
    found.save(update_fields=["removed"])
    return found.pk, {}


def undo_unmark(by: User, subject: str, before: Before) -> None:  # noqa: ARG001
    Mark.objects.filter(pk=subject).update(removed=None)


def finish(by: User, asked: FinishAct) -> tuple[int, Before]:
    sitting, _ = Sitting.objects.get_or_create(take=take_for(by, asked.take), editor=by)
    if sitting.done is None:
        sitting.done = timezone.now()
        sitting.save(update_fields=["done"])
    return sitting.pk, {}


def undo_finish(by: User, subject: str, before: Before) -> None:  # noqa: ARG001
    Sitting.objects.filter(pk=subject).update(done=None)
