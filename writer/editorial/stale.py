"""What was judged under a meaning of a principle that it has no more. Training leaves it out until it is looked at again."""

from __future__ import annotations

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from writer.editorial.models import Mark, PrincipleState, Violation, Vote, VoteReason

CHANGED = Q(version__meaning__lt=F("version__principle__current__meaning"))
OUT_OF_FORCE = ~Q(version__principle__state=PrincipleState.IN_FORCE)


def stale_marks() -> QuerySet[Mark]:
    return Mark.objects.filter(CHANGED | OUT_OF_FORCE, removed=None)


def stale_reasons() -> QuerySet[VoteReason]:
    return VoteReason.objects.filter(CHANGED | OUT_OF_FORCE, vote__undone=None)


def votes_in_force() -> QuerySet[Vote]:
    """Votes that count: not undone, and none of their reasons stale."""
    stale = VoteReason.objects.filter(CHANGED | OUT_OF_FORCE, vote=OuterRef("pk"))
    return Vote.objects.filter(~Exists(stale), undone=None)


def violations_in_force() -> QuerySet[Violation]:
    """Violations of what a principle asks today. A stage makes new ones for a new meaning, so nobody looks at the others again."""
    return Violation.objects.exclude(CHANGED | OUT_OF_FORCE)
