"""The lease on a row that one process at a time works on: a generation, a run, an evaluation.

    waiting -> claimed: running, attempt + 1, lease_until -> renewed -> renewed -> ... -> ended
                   ^                                            |
                   '---- expired: another process may ----------'

lease      The row belongs to its holder until `lease_until`. The holder renews it; when it expires, another process may claim the row.
attempt    Counts the claims of the row. The newest number identifies the holder.
fence      A holder writes only to `held`: the row, if it is still running with the holder's attempt. A holder that was frozen for longer
           than its lease, and has been replaced, changes nothing and learns that it has lost the row.

Times are those of the database, so that the clocks of machines need not agree. The narrator writes many stories in one SQL statement, for
which `HELD`, `EXPIRED` and `CLAIMED` are the conditions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, LiteralString, TypeVar

from django.db import transaction
from django.db.models import F, Model, Q, QuerySet
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

M = TypeVar("M", bound=Model)
RUNNING = "running"

HELD: LiteralString = "g.attempt = r.attempt AND g.state = 'running'"
"""The fence of a generation g, for a row r of an append."""
EXPIRED: LiteralString = "state = 'running' AND lease_until < clock_timestamp()"
CLAIMED: LiteralString = (
    "state = 'running', attempt = attempt + 1, lease_until = clock_timestamp() + %(lease)s * interval '1 second'"
)


class Lost(Exception):
    """Another process holds the row now, or it has ended."""


def until(lasts: timedelta) -> Combinable:
    """The time at which a lease that begins now expires."""
    return Now() + lasts


def expired() -> Q:
    return Q(state=RUNNING, lease_until__lte=Now())


def held(row: M, attempt: int) -> QuerySet[M]:
    """The row if this attempt holds it, otherwise no row."""
    return QuerySet(type(row)).filter(pk=row.pk, attempt=attempt, state=RUNNING)


@dataclass(frozen=True)
class Lease(Generic[M]):
    """A claimed row, the attempt that holds it, and the duration of the lease after each renewal."""

    row: M
    attempt: int
    lasts: timedelta

    def write(self, **changes: Any) -> None:
        """Change the row. Raises Lost."""
        if not held(self.row, self.attempt).update(**changes):
            raise Lost

    def renew(self) -> None:
        """Extend the lease. Raises Lost."""
        self.write(lease_until=until(self.lasts))


def claim(rows: QuerySet[M], lasts: timedelta) -> Lease[M] | None:
    """Claim the first of `rows`. None if there is no row."""
    with transaction.atomic():
        row = rows.select_for_update(of=("self",)).first()
        if row is None:
            return None
        rows.filter(pk=row.pk).update(state=RUNNING, attempt=F("attempt") + 1, lease_until=until(lasts))
        row.refresh_from_db(fields=["state", "attempt", "lease_until"])
        attempt: int = row.attempt  # type: ignore[attr-defined]
        return Lease(row, attempt, lasts)
