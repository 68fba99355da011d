from __future__ import annotations

from writer.editorial.models import Principle, PrincipleState
from writer.refusals import Missing, Refused


def set_state(*, key: str, state: str) -> Principle:
    """Put a principle in force, retire it, or make it a draft again. What was judged under it stays."""
    if state not in PrincipleState.values:
        raise Refused("A principle is a draft, in force or retired.", field="state")
    if not Principle.objects.filter(key=key).update(state=state):
        raise Missing
    return Principle.objects.get(key=key)
