from __future__ import annotations

from django.db import transaction

from writer.accounts.audit import record
from writer.accounts.models import User
from writer.editorial.models import Principle, PrincipleState
from writer.refusals import Missing, Refused


def set_state(*, by: User | None, key: str, state: str) -> Principle:
    """Put a principle in force, retire it, or make it a draft again. Judgements under it are kept."""
    if state not in PrincipleState.values:
        raise Refused("The state must be draft, in force or retired.", field="state")
    with transaction.atomic():
        found = Principle.objects.select_for_update().filter(key=key).first()
        if found is None:
            raise Missing
        record(by, "principle.state", key, before=found.state, after=state)
        found.state = state
        found.save(update_fields=["state"])
    return found
