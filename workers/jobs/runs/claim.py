"""Who gets the GPUs: one transaction that takes a run and its GPUs together, or neither.

The order is fair between people, not between runs: first whoever has the fewest runs at work, then whoever's last run began longest
ago, then the oldest asking. A run that was interrupted is resumed before anything new, on its own machine. A run that wants more GPUs
than are free now lets no smaller one pass for longer than `PATIENCE`: so it cannot starve.
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
"""On one machine: they take no GPU, but all ask the same teacher."""
LEASE = timedelta(seconds=15)
PATIENCE = timedelta(minutes=30)


def claim(machine: Machine) -> Run | None:
    """The next run for this machine, RUNNING and with its GPUs, of which a stage needs none; None where there is nothing to do.

    Its lease is long enough for a follower to begin. If none does, the next look finds it expired.
    """
    with transaction.atomic():
        _one_at_a_time()
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
    """What waits for a GPU, in the order in which it will get one."""
    running = Run.objects.filter(state=RunState.RUNNING, by=OuterRef("by")).order_by().values("by")
    at_work = running.annotate(number=Count("pk")).values("number")
    last = Run.objects.filter(by=OuterRef("by")).order_by().values("by").annotate(last=Max("started")).values("last")
    found = ready_to_start().annotate(
        at_work=Coalesce(Subquery(at_work), 0), turn=Subquery(last), interrupted=Q(machine__isnull=False)
    )
    if machine is not None:
        found = found.filter(Q(machine=None) | Q(machine=machine))
    return found.order_by("-interrupted", "at_work", F("turn").asc(nulls_first=True), "queued", "pk")


def _could_run(run: Run, machine: Machine) -> bool:
    return Gpu.objects.filter(machine=machine).count() >= run.gpus


def _begin(run: Run, machine: Machine, gpus: list[Gpu]) -> Run:
    Gpu.objects.filter(pk__in=[gpu.pk for gpu in gpus]).update(run=run)
    begun = {"started": Coalesce("started", Now()), "lease_until": lease.until(LEASE)}
    Run.objects.filter(pk=run.pk).update(state=RunState.RUNNING, machine=machine, problem="", **begun)
    run.refresh_from_db()
    return run


def take_over(run_id: int) -> lease.Lease[Run] | None:
    """The lease of a new follower, which holds the lock on the run's folder: another one is not alive. None: there is nothing to follow."""
    found = Run.objects.select_related("base", "snapshot", "dataset", "corpus", "reward_model")
    return lease.claim(found.filter(pk=run_id, state=RunState.RUNNING), LEASE)


def unfollowed(machine: Machine) -> list[int]:
    """Runs of this machine whose follower has let its lease expire."""
    return list(Run.objects.filter(lease.expired(), machine=machine).order_by("pk").values_list("pk", flat=True))


def _one_at_a_time() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('longhand runs'))")
