from __future__ import annotations

from django.db import transaction

from training.common.records import Principle as Record
from writer.accounts.audit import record as record_act
from writer.accounts.models import User
from writer.editorial.constitution import record_of
from writer.editorial.models import Principle, PrincipleState, PrincipleVersion
from writer.refusals import NotNow, Refused
from writer.stories.text import checked_text


def new_principle(*, by: User | None, record: Record, state: str = PrincipleState.DRAFT) -> PrincipleVersion:
    with transaction.atomic():
        principle, made = Principle.objects.get_or_create(key=record.key, defaults={"state": state})
        if not made:
            raise Refused(f"There is a principle {record.key} already. Choose another key.", field="key")
        return _version(principle, record, by=by, number=1, meaning=1, why="")


def save_principle(
    *, by: User | None, record: Record, base: int, meaning_changed: bool, why: str = ""
) -> PrincipleVersion:
    """Store a new wording of the principle, based on version `base`. Without changes no version is made.

    `meaning_changed`: marks and votes under earlier wordings must be checked again.
    """
    why = checked_text(why, "why", most=500, one_line=True, required=meaning_changed)
    with transaction.atomic():
        principle = Principle.objects.select_for_update().get(key=record.key)
        before = principle.current
        assert before is not None
        if before.number != base:
            who = before.author.name if before.author else "Somebody"
            raise NotNow(
                f"{who} changed this principle while you did. Your wording is still here; compare it with theirs."
            )
        if record_of(before) == record:
            return before
        meaning = before.meaning + meaning_changed
        return _version(principle, record, by=by, number=before.number + 1, meaning=meaning, why=why)


def _version(
    principle: Principle, record: Record, *, by: User | None, number: int, meaning: int, why: str
) -> PrincipleVersion:
    version = PrincipleVersion.objects.create(
        principle=principle,
        number=number,
        meaning=meaning,
        name=record.name,
        domains=list(record.domains),
        tasks=list(record.tasks),
        explanation=record.explanation,
        examples=[example.model_dump() for example in record.examples],
        why=why,
        author=by,
    )
    principle.current = version
    principle.save(update_fields=["current"])
    record_act(by, "principle.save", record.name, key=principle.key, version=number, meaning=meaning, why=why)
    return version
