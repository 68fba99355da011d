"""The lease on a row that one process at a time works on: a generation, a run, an evaluation.

    waiting -> claimed: running, attempt + 1, lease_until -> renewed -> renewed -> ... -> at rest
                   ^                                            |
                   '---- expired: another process may ----------'

lease      Until `lease_until` the row is its holder's. The holder renews it; when that stops, another process may claim the row.
attempt    Counts the claims of the row. Its newest number names the holder.
fence      A holder writes only to `held`: the row, if it is still running with the holder's own attempt. One that was frozen for longer
           than its lease and has been replaced changes nothing by that, and hears that it has lost the row.

Times are the database's, so that machines need not agree on theirs. The narrator writes many stories in one statement of its own, of which
`HELD`, `EXPIRED` and `CLAIMED` are the conditions as SQL.
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
"""Of a generation g, for a row r of what a narrator writes."""
EXPIRED: LiteralString = "state = 'running' AND lease_until < clock_timestamp()"
CLAIMED: LiteralString = (
    "state = 'running', attempt = attempt + 1, lease_until = clock_timestamp() + %(lease)s * interval '1 second'"
)


class Lost(Exception):
    """Another process has the row now, or it is at rest."""


def until(lasts: timedelta) -> Combinable:
    """The end of a lease that begins now."""
    return Now() + lasts


def expired() -> Q:
    return Q(state=RUNNING, lease_until__lte=Now())


def held(row: M, attempt: int) -> QuerySet[M]:
    """The row, while this attempt holds it; no row afterwards."""
    return QuerySet(type(row)).filter(pk=row.pk, attempt=attempt, state=RUNNING)


@dataclass(frozen=True)
class Lease(Generic[M]):
    """What the holder of a row has: the row as it was claimed, its attempt, and how long the lease lasts from each renewal."""

    row: M
    attempt: int
    lasts: timedelta

    def write(self, **changes: Any) -> None:
        """Change the row. Raises Lost."""
        if not held(self.row, self.attempt).update(**changes):
            raise Lost

    def renew(self) -> None:
        """Raises Lost."""
        self.write(lease_until=until(self.lasts))


def claim(rows: QuerySet[M], lasts: timedelta) -> Lease[M] | None:
    """The lease on the first of `rows`; None where there is none, or another process was quicker."""
    with transaction.atomic():
        row = rows.select_for_update(of=("self",)).first()
        if row is None:
            return None
        rows.filter(pk=row.pk).update(state=RUNNING, attempt=F("attempt") + 1, lease_until=until(lasts))
        row.refresh_from_db(fields=["state", "attempt", "lease_until"])
        attempt: int = row.attempt  # type: ignore[attr-defined]
        return Lease(row, attempt, lasts)
