"""Assigns GPUs to runs. One transaction claims a run and its GPUs together, or neither.

The order is fair between people, not between runs: first the person with the fewest active runs, then the one whose last run started
longest ago, then the oldest request. A run that was interrupted is resumed before any new one, on its own machine. A run that needs more
GPUs than are free may be overtaken by smaller ones for `PATIENCE` at most, so that it cannot starve.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import connection, transaction
from django.db.models import Count, F, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from workers import lease
from writer.studio.models import Gpu, Machine, Run, RunState
from writer.studio.ready import ready_to_start

STAGES_AT_ONCE = 2
"""Stages on one machine. They need no GPU, but all of them query the same teacher."""
LEASE = timedelta(seconds=15)
PATIENCE = timedelta(minutes=30)


def claim(machine: Machine) -> Run | None:
    """The next run for this machine, RUNNING and with its GPUs (a stage needs none), or None.

    Its lease is long enough for a follower to start. If none does, the next check finds it expired.
    """
    with transaction.atomic():
        _lock_claims()
        stages = Run.objects.filter(machine=machine, state=RunState.RUNNING, gpus=0).count()
        free = list(Gpu.objects.select_for_update().filter(machine=machine, run=None, serving=None))
        for run in queue(machine).select_for_update(of=("self",)):
            if not run.gpus and stages >= STAGES_AT_ONCE:
                continue
            if len(free) >= run.gpus:
                return _begin(run, machine, free[: run.gpus])
            if run.queued and timezone.now() - run.queued > PATIENCE and _could_run(run, machine):
                return None
    return None


def queue(machine: Machine | None = None) -> QuerySet[Run]:
    """The runs that wait for a GPU, in the order in which they get one."""
    running = Run.objects.filter(state=RunState.RUNNING, by=OuterRef("by")).order_by().values("by")
    active = running.annotate(number=Count("pk")).values("number")
    last = Run.objects.filter(by=OuterRef("by")).order_by().values("by").annotate(last=Max("started")).values("last")
    found = ready_to_start().annotate(
        active=Coalesce(Subquery(active), 0), turn=Subquery(last), interrupted=Q(machine__isnull=False)
    )
    if machine is not None:
        found = found.filter(Q(machine=None) | Q(machine=machine))
    return found.order_by("-interrupted", "active", F("turn").asc(nulls_first=True), "queued", "pk")


def _could_run(run: Run, machine: Machine) -> bool:
    return Gpu.objects.filter(machine=machine).count() >= run.gpus


def _begin(run: Run, machine: Machine, gpus: list[Gpu]) -> Run:
    Gpu.objects.filter(pk__in=[gpu.pk for gpu in gpus]).update(run=run)
    begun = {"started": Coalesce("started", Now()), "lease_until": lease.until(LEASE)}
    Run.objects.filter(pk=run.pk).update(state=RunState.RUNNING, machine=machine, problem="", **begun)
    run.refresh_from_db()
    return run


def take_over(run_id: int) -> lease.Lease[Run] | None:
    """The lease of a new follower, which must hold the lock on the run's folder, so that no other is alive; None if the run is not running."""
    found = Run.objects.select_related("base", "snapshot", "dataset", "corpus", "reward_model")
    return lease.claim(found.filter(pk=run_id, state=RunState.RUNNING), LEASE)


def unfollowed(machine: Machine) -> list[int]:
    """Runs of this machine whose follower has let its lease expire."""
    return list(Run.objects.filter(lease.expired(), machine=machine).order_by("pk").values_list("pk", flat=True))


def _lock_claims() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('longhand runs'))")
