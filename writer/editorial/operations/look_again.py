"""Checks judgements under an older meaning of a principle: they hold under the new one, or not."""

from __future__ import annotations

from uuid import UUID

from django.utils import timezone

from writer.accounts.models import User
from writer.editorial.acts import LookAct
from writer.editorial.models import Mark, PrincipleState, PrincipleVersion, VoteReason
from writer.editorial.operations.judge_pair import Before
from writer.editorial.stale import stale_marks, stale_reasons
from writer.refusals import Missing, NotNow, Refused


def look(by: User, asked: LookAct) -> tuple[object, Before]:  # noqa: ARG001
    if (asked.mark is None) == (asked.vote is None):
        raise Refused("Name a mark or a vote.", field="mark")
    old = PrincipleVersion.objects.select_related("principle").filter(pk=asked.version).first()
    if old is None:
        raise Missing
    if asked.holds and old.principle.state != PrincipleState.IN_FORCE:
        raise NotNow("This principle is no longer in force, so nothing can be confirmed under it.")
    current = old.principle.current_id
    if asked.mark is not None:
        return _look_at_mark(asked.mark, old.pk, current if asked.holds else None)
    assert asked.vote is not None
    return _look_at_reason(asked.vote, old.pk, current if asked.holds else None)


def _look_at_mark(mark_id: UUID, old: int, current: int | None) -> tuple[UUID, Before]:
    found = stale_marks().select_for_update(of=("self",)).filter(pk=mark_id, version_id=old).first()
    if found is None:
        raise NotNow("Somebody has checked this mark already.")
    if current is None:
        found.removed = timezone.now()
    else:
        found.version_id = current
    found.save(update_fields=["removed", "version"])
    return found.pk, {"mark": str(found.pk), "version": old}


def _look_at_reason(vote: int, old: int, current: int | None) -> tuple[int, Before]:
    found = stale_reasons().select_for_update(of=("self",)).filter(vote_id=vote, version_id=old).first()
    if found is None:
        raise NotNow("Somebody has checked this vote already.")
    found.delete()
    made = False
    if current is not None:
        _, made = VoteReason.objects.get_or_create(vote_id=vote, version_id=current)
    return vote, {"vote": vote, "version": old, "made": current if made else None}


def undo_look(by: User, subject: str, before: Before) -> None:  # noqa: ARG001
    if "mark" in before:
        Mark.objects.filter(pk=before["mark"]).update(version=before["version"], removed=None)
        return
    VoteReason.objects.filter(vote=before["vote"], version=before["made"]).delete()
    VoteReason.objects.get_or_create(vote_id=before["vote"], version_id=before["version"])
