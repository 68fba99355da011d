"""Violations that wait for an editor, the next one, and the share of accepted ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from writer.accounts.models import User
from writer.editorial.models import Rejection, Violation, ViolationState
from writer.editorial.snapshots.rows import consented, of_arenas
from writer.editorial.stale import violations_in_force
from writer.refusals import Missing

READABLE = Q(take__brief__story=None) | Q(take__brief__story__sharing__reading=True)


def violation_for(user: User, pk: int) -> Violation:
    """A violation that this editor may read: it belongs to no story, or its writer offers the story."""
    found = _with_texts(Violation.objects.filter(READABLE, pk=pk)).first()
    if found is None or not user.is_editor:
        raise Missing
    return found


def _with_texts(violations: QuerySet[Violation]) -> QuerySet[Violation]:
    return violations.select_related("take__brief", "version__principle", "by").defer("take__origins")


def waiting_violations(user: User) -> QuerySet[Violation]:
    """The violations that this editor can get now. Left out are those that no data set would contain: with an older meaning, in a story
    without consent for training, or on a prompt of an arena, whose takes are judged blind."""
    if not user.is_editor:
        return Violation.objects.none()
    of_arena = Exists(of_arenas().filter(brief=OuterRef("take__brief")))
    of_use = violations_in_force().filter(consented("take__brief"), ~of_arena)
    return of_use.filter(READABLE, state=ViolationState.WAITING)


@dataclass
class Acceptance:
    """The judgements of the violations of one principle, with its present meaning."""

    key: str
    name: str
    states: Counter[str] = field(default_factory=Counter)
    rejections: Counter[str] = field(default_factory=Counter)

    @property
    def waiting(self) -> int:
        return self.states[ViolationState.WAITING]

    @property
    def accepted(self) -> int:
        return self.states[ViolationState.ACCEPTED]

    @property
    def mended(self) -> int:
        return self.states[ViolationState.MENDED]

    @property
    def rejected(self) -> int:
        return self.states[ViolationState.REJECTED]

    @property
    def usable(self) -> int:
        return self.accepted + self.mended

    @property
    def share(self) -> int | None:
        """Accepted without changes, in percent of all judged."""
        seen = self.usable + self.rejected
        return round(100 * self.accepted / seen) if seen else None

    @property
    def between(self) -> tuple[int, int]:
        """The 95 % interval of `share`, in percent."""
        low, high = wilson(self.accepted, self.usable + self.rejected)
        return round(100 * low), round(100 * high)

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """The reasons of rejections, the most frequent first."""
        return [(Rejection(reason).label, number) for reason, number in self.rejections.most_common()]


def acceptance(user: User, key: str = "") -> list[Acceptance]:
    """The acceptance of all principles, by name, or of the one with `key`; `waiting` counts those for this editor."""
    columns = ("version__principle__key", "version__principle__current__name", "state", "reason")
    judged = violations_in_force().exclude(state=ViolationState.WAITING)
    found: dict[str, Acceptance] = {}
    for violations in (waiting_violations(user), judged):
        asked = violations.filter(version__principle__key=key) if key else violations
        for principle, name, state, reason, number in asked.values_list(*columns).annotate(Count("pk")).order_by():
            one = found.setdefault(principle, Acceptance(principle, name))
            one.states[state] += number
            if reason:
                one.rejections[reason] += number
    return sorted(found.values(), key=lambda one: (one.name, one.key))


def next_violation(user: User, among: Iterable[Acceptance]) -> Violation | None:
    """The oldest violation of the principles with the fewest usable ones; `among` is the `acceptance` of the principles to choose from."""
    waiting = [one for one in among if one.waiting]
    rarest = min((one.usable for one in waiting), default=0)
    keys = [one.key for one in waiting if one.usable == rarest]
    found = waiting_violations(user).filter(version__principle__key__in=keys).order_by("created", "pk")
    return _with_texts(found).first()


def wilson(right: int, of: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a share (JASA 22, 1927), at 95 %; from 0 to 1 without data.

    >>> [round(bound, 3) for bound in wilson(8, 10)]
    [0.49, 0.943]
    """
    if not of:
        return 0.0, 1.0
    share, grown = right / of, 1 + z * z / of
    middle = (share + z * z / (2 * of)) / grown
    reach = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / grown
    return max(0.0, middle - reach), min(1.0, middle + reach)
