"""Judges violations: accepts them, rejects them with a reason, or stores a corrected wording; and undoes these."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from writer.accounts.models import User
from writer.editorial.acts import ViolationAct
from writer.editorial.models import Rejection, Violation, ViolationState
from writer.editorial.models.violations import NOTE_CHARS, WORSE_CHARS
from writer.editorial.operations.judge_pair import Before
from writer.editorial.stale import violations_in_force
from writer.editorial.violations import violation_for
from writer.refusals import NotNow, Refused
from writer.stories.text import checked_text, paragraphs

UNJUDGED: dict[str, Any] = {
    "state": ViolationState.WAITING,
    "mended": "",
    "reason": "",
    "note": "",
    "by": None,
    "judged": None,
}


def judge_violation(by: User, asked: ViolationAct) -> tuple[int, Before]:
    # Lock first and then read, so that the second of two editors is told about the judgement of the first.
    Violation.objects.select_for_update().filter(pk=asked.violation).values_list("pk").first()
    found = violation_for(by, asked.violation)
    if found.state != ViolationState.WAITING:
        _refuse_second(found, by)
    if not violations_in_force().filter(pk=found.pk).exists():
        raise NotNow("This principle has a new meaning, or is no longer in force. Your judgement was not stored.")
    said = UNJUDGED | {"state": asked.state, "by": by, "judged": timezone.now()}
    if asked.state == "mended":
        said["mended"] = _mended(found, asked.mended)
    elif asked.state == "rejected":
        said |= _rejected(asked)
    Violation.objects.filter(pk=found.pk).update(**said)
    return found.pk, {}


def undo_judge_violation(by: User, subject: str, before: Before) -> None:  # noqa: ARG001
    if not Violation.objects.filter(pk=subject, by=by).update(**UNJUDGED):
        raise NotNow("The text has been deleted, together with its judgements.")


def _refuse_second(found: Violation, by: User) -> None:
    if found.by == by:
        raise NotNow("You have judged this one already. Undo that to judge it again.")
    who = found.by.name if found.by else "Somebody"
    raise NotNow(f"{who} judged this one while you read it. Your judgement was not stored.")


def _mended(found: Violation, typed: str) -> str:
    mended = "\n\n".join(paragraphs(checked_text(typed, "mended", most=WORSE_CHARS)))
    if not mended:
        raise Refused("What should the worse passage be? Write it, or accept it as it is.", field="mended")
    if mended == found.worse:
        raise Refused("The worse passage is unchanged. Accept it, if it is good.", field="mended")
    if mended == found.good:
        raise Refused("This is the good passage. The worse one must break the principle.", field="mended")
    return mended


def _rejected(asked: ViolationAct) -> dict[str, str]:
    if asked.reason not in Rejection.values or not asked.reason:
        raise Refused("Why is it rejected? Choose a reason.", field="reason")
    needed = asked.reason == Rejection.OTHER
    return {
        "reason": asked.reason,
        "note": checked_text(asked.note, "note", most=NOTE_CHARS, one_line=True, required=needed),
    }
