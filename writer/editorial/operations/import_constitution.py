from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from training.common.records import Principle as Record
from writer.accounts.models import User
from writer.editorial.constitution import OURS, read_constitution, record_of
from writer.editorial.models import Principle, PrincipleState
from writer.editorial.operations.save_principle import new_principle, save_principle


@dataclass(frozen=True)
class Imported:
    new: int
    changed: int
    same: int


def import_constitution(
    *, by: User | None, records: list[Record], meaning_changed: bool, state: str = PrincipleState.DRAFT
) -> Imported:
    """Import a file, completely or not at all: new principles get the state `state`, changed ones a new version."""
    new = changed = same = 0
    with transaction.atomic():
        keys = [record.key for record in records]
        known = {
            principle.key: principle
            for principle in Principle.objects.filter(key__in=keys).select_related("current__principle")
        }
        for record in records:
            principle = known.get(record.key)
            if principle is None or principle.current is None:
                new_principle(by=by, record=record, state=state)
                new += 1
            elif record_of(principle.current) == record:
                same += 1
            else:
                base = principle.current.number
                save_principle(by=by, record=record, base=base, meaning_changed=meaning_changed, why="Imported")
                changed += 1
    return Imported(new, changed, same)


def ensure_constitution() -> None:
    """Import our principles, in force, into a site without principles. Later only editors change them."""
    if not Principle.objects.exists():
        records = read_constitution(OURS.read_text())
        import_constitution(by=None, records=records, meaning_changed=False, state=PrincipleState.IN_FORCE)
