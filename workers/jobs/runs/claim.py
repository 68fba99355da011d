"""Assigns GPUs to runs. One transaction claims a run and its GPUs together, on all of its machines, or nothing.

The order is fair between people, not between runs: first the person with the fewest active runs, then the one whose last run started
longest ago, then the oldest request. A run that was interrupted is resumed before any new one, on its own machine. A run that needs more
GPUs than are free may be overtaken by smaller ones for `PATIENCE` at most, so that it cannot starve.

A run on several machines has one lease, which the follower on the machine that claimed it holds: this machine leads. The others see that
their GPUs are held, and take part (`workers.jobs.runs.node`). If the leading machine is gone, the run is queued again, and any machine may
lead it.
"""

from __future__ import annotations

import socket
from collections import defaultdict
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
SEEN, GONE = timedelta(seconds=15), timedelta(seconds=60)
"""A machine that was seen within SEEN may take part in a run; one that was not seen for GONE has left the runs in which it takes part."""


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
            gpus = _gpus_for(run, machine, free)
            if gpus is not None:
                return _begin(run, machine, gpus)
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
        found = found.filter(Q(machine=None) | Q(machine=machine) | Q(nodes__gt=1))
    return found.order_by("-interrupted", "active", F("turn").asc(nulls_first=True), "queued", "pk")


def _gpus_for(run: Run, machine: Machine, free: list[Gpu]) -> list[Gpu] | None:
    """The GPUs for the run, some of them `free` ones of this machine; None if there are too few.

    Other machines must have been seen, and have the same kind of GPU. A machine that still holds GPUs of an earlier attempt takes no part.
    """
    if len(free) < run.gpus:
        return None
    own = free[: run.gpus]
    if run.nodes == 1:
        return own
    leaving = Gpu.objects.filter(run=run).values("machine")
    others = Gpu.objects.select_for_update(of=("self",)).filter(_seen("machine__"), run=None, serving=None)
    parts: dict[int, list[Gpu]] = defaultdict(list)
    for gpu in others.filter(name=own[0].name).exclude(machine=machine).exclude(machine__in=leaving):
        parts[gpu.machine_id].append(gpu)
    enough = [gpus[: run.gpus] for gpus in parts.values() if len(gpus) >= run.gpus]
    if len(enough) < run.nodes - 1 or leaving.filter(machine=machine).exists():
        return None
    return sum(enough[: run.nodes - 1], own)


def _seen(prefix: str = "") -> Q:
    return Q(**{f"{prefix}seen__gt": Now() - SEEN})


def _could_run(run: Run, machine: Machine) -> bool:
    if run.nodes == 1:
        return Gpu.objects.filter(machine=machine).count() >= run.gpus
    able = Machine.objects.filter(_seen()).annotate(number=Count("gpus")).filter(number__gte=run.gpus)
    return able.filter(pk=machine.pk).exists() and able.count() >= run.nodes


def _begin(run: Run, machine: Machine, gpus: list[Gpu]) -> Run:
    Gpu.objects.filter(pk__in=[gpu.pk for gpu in gpus]).update(run=run)
    machines = Machine.objects.filter(gpus__in=gpus).distinct().order_by("name")
    rendezvous = {"machines": list(machines.values_list("name", flat=True))} if run.nodes > 1 else None
    begun = {"started": Coalesce("started", Now()), "lease_until": lease.until(LEASE), "rendezvous": rendezvous}
    Run.objects.filter(pk=run.pk).update(state=RunState.RUNNING, machine=machine, problem="", **begun)
    run.refresh_from_db()
    return run


def take_over(run_id: int) -> lease.Lease[Run] | None:
    """The lease of a new follower, which must hold the lock on the run's folder, so that no other is alive; None if the run is not running.

    A run on several machines is followed on the machine that leads it: a lock of the shared folder may not reach the others.
    """
    found = Run.objects.select_related("base", "snapshot", "dataset", "corpus", "reward_model", "machine")
    here = Q(nodes=1) | Q(machine__name=socket.gethostname())
    return lease.claim(found.filter(here, pk=run_id, state=RunState.RUNNING), LEASE)


def unfollowed(machine: Machine) -> list[int]:
    """Runs of this machine whose follower has let its lease expire."""
    return list(Run.objects.filter(lease.expired(), machine=machine).order_by("pk").values_list("pk", flat=True))


def taking_part(machine: Machine) -> list[int]:
    """Runs that hold GPUs of this machine, and that it does not lead: it takes part in them, or has to free the GPUs."""
    held = Gpu.objects.filter(machine=machine, run__isnull=False)
    elsewhere = ~Q(run__state=RunState.RUNNING) | ~Q(run__machine=machine)
    return list(held.filter(elsewhere).order_by("run").values_list("run", flat=True).distinct())


def gone(names: list[str]) -> list[str]:
    """Those of the machines that have not been seen for GONE."""
    found = Machine.objects.filter(name__in=names, seen__lt=Now() - GONE)
    return list(found.order_by("name").values_list("name", flat=True))


def release_leaderless() -> None:
    """End the attempt of each run on several machines whose leading machine is gone. The new attempt fences its follower off."""
    leaderless = Run.objects.filter(lease.expired(), nodes__gt=1, machine__seen__lt=Now() - GONE)
    ended = {"attempt": F("attempt") + 1, "lease_until": None, "rendezvous": None, "wish": ""}
    leaderless.exclude(wish="").update(state=RunState.STOPPED, finished=Now(), **ended)
    leaderless.update(state=RunState.QUEUED, **ended)


def _lock_claims() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('longhand runs'))")
