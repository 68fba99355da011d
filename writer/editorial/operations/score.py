"""Stores the score of a text by the rubric. A newer sheet of the same person replaces the older one."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from pydantic import ValidationError

from training.common.rubric import Scores
from writer.accounts.models import User
from writer.editorial.acts import RubricAct
from writer.editorial.models import RubricSheet
from writer.editorial.operations.judge_pair import Before
from writer.editorial.reading import take_for
from writer.refusals import Refused


def rubric(by: User, asked: RubricAct) -> tuple[int, Before]:
    take = take_for(by, asked.take)
    sheet = _checked(asked.sheet)
    older = RubricSheet.objects.filter(take=take, by=by, removed=None).first()
    if older is not None:
        older.removed = timezone.now()
        older.save(update_fields=["removed"])
    made = RubricSheet.objects.create(take=take, by=by, sheet=sheet.model_dump(mode="json"), overall=sheet.overall)
    return made.pk, {"older": older.pk if older else None}


def undo_rubric(by: User, subject: str, before: Before) -> None:  # noqa: ARG001
    RubricSheet.objects.filter(pk=subject).update(removed=timezone.now())
    RubricSheet.objects.filter(pk=before["older"]).update(removed=None)


def _checked(typed: dict[str, Any]) -> Scores:
    try:
        return Scores.model_validate(typed)
    except ValidationError as error:
        first = error.errors()[0]
        raise Refused(str(first["msg"]).removeprefix("Value error, "), field=str(first["loc"][-1])) from None
