"""Judgements under an older meaning of a principle. Training leaves them out until they are checked again."""

from __future__ import annotations

from django.db.models import F, Q, QuerySet

from writer.editorial.models import Mark, PrincipleState, Violation, VoteReason

CHANGED = Q(version__meaning__lt=F("version__principle__current__meaning"))
OUT_OF_FORCE = ~Q(version__principle__state=PrincipleState.IN_FORCE)


def stale_marks() -> QuerySet[Mark]:
    return Mark.objects.filter(CHANGED | OUT_OF_FORCE, removed=None)


def stale_reasons() -> QuerySet[VoteReason]:
    return VoteReason.objects.filter(CHANGED | OUT_OF_FORCE, vote__undone=None)


def violations_in_force() -> QuerySet[Violation]:
    """Violations of the current meaning of a principle. A stage makes new ones for a new meaning, so others are not checked again."""
    return Violation.objects.exclude(CHANGED | OUT_OF_FORCE)
