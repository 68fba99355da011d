"""Acts of an editor: each is stored once, and undone once.

The browser gives each act an op_id and sends it until it is answered. An editor is locked during an act, so that an act that is sent
twice at the same time is stored once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from writer.accounts.models import User
from writer.editorial.acts import Asked
from writer.editorial.models import Act
from writer.editorial.operations import judge_pair, judge_violation, look_again, mark, score
from writer.refusals import Missing, Refused
from writer.stories.checks import checked_key
from writer.stories.operations.locking import lock_person


@dataclass(frozen=True)
class Kind:
    do: Callable[[User, Any], tuple[object, dict[str, Any]]]
    """Carry out an act. Returns the id of the changed object, and the data for undoing it."""
    undo: Callable[[User, str, dict[str, Any]], None]


KINDS = {
    "vote": Kind(judge_pair.vote, judge_pair.undo_vote),
    "skip": Kind(judge_pair.skip, judge_pair.undo_skip),
    "settle": Kind(judge_pair.settle, judge_pair.undo_settle),
    "mark": Kind(mark.mark, mark.undo_mark),
    "remark": Kind(mark.remark, mark.undo_remark),
    "unmark": Kind(mark.unmark, mark.undo_unmark),
    "finish": Kind(mark.finish, mark.undo_finish),
    "rubric": Kind(score.rubric, score.undo_rubric),
    "look": Kind(look_again.look, look_again.undo_look),
    "judge_violation": Kind(judge_violation.judge_violation, judge_violation.undo_judge_violation),
}


def act(*, by: User, op_id: str, asked: Asked) -> Act:
    op_id, content = checked_key(op_id, "op_id"), asked.model_dump(mode="json")
    with transaction.atomic():
        lock_person(by)
        before = Act.objects.filter(editor=by, op_id=op_id).first()
        if before is not None:
            if before.asked != content:
                raise Refused("This op_id belongs to another act. Use a new one for each act.", field="op_id")
            return before
        subject, back = KINDS[content["kind"]].do(by, asked)
        return Act.objects.create(
            editor=by, op_id=op_id, kind=content["kind"], asked=content, subject=str(subject), before=back
        )


def undo(*, by: User, op_id: str) -> Act:
    """Undo an act. An undone act stays undone."""
    with transaction.atomic():
        lock_person(by)
        found = Act.objects.filter(editor=by, op_id=op_id).first()
        if found is None:
            raise Missing
        if found.undone is None:
            KINDS[found.kind].undo(by, found.subject, found.before)
            found.undone = timezone.now()
            found.save(update_fields=["undone"])
        return found
