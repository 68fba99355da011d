"""Makes the report of a version in one task: the version writes stories, held-out pairs are scored, copied text is searched for, and the
results are stored.

Each story is stored when it is finished, so that a restarted task continues from there. The lease (`workers.lease`) is renewed during the
work, since a long story takes longer than a lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Iterator
from datetime import timedelta
from typing import Any, NoReturn, ParamSpec, TypeVar

import structlog
from django.db import InterfaceError, OperationalError, connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from training.evaluate.overlap import Overlap
from training.evaluate.served import Client, Served, Written
from training.evaluate.version import Assignment, Facts, Pair, assignments, build_report
from training.serving.http import ServerFailed
from workers.addresses import server_of
from workers.jobs.runs.material import examples_of
from workers.lease import Lease, Lost, claim, expired, until
from writer.editorial.models import Making, Snapshot, SnapshotKind, SnapshotRow
from writer.editorial.snapshots.formats import example_of
from writer.stories.models import ModelVersion
from writer.studio.held_out import is_held_out
from writer.studio.lineage import runs_of
from writer.studio.models import Evaluation, EvaluationState, Run, Sample, Serving, ServingState

LEASE = timedelta(seconds=30)
RENEW_SECONDS = 5.0
MOST_PAIRS = 48
TRIES = 3
MOST_ATTEMPTS = 6
"""Some of which may have killed their worker."""

P = ParamSpec("P")
T = TypeVar("T")
log = structlog.get_logger()


class NotReady(Exception):
    """A version that is needed is not loaded. The task is sent again when it is."""


def due() -> list[int]:
    """Evaluations whose versions are all loaded and that are waiting, or whose task died."""
    loaded = _loaded()
    return [one.pk for one in _waiting().select_related("version").order_by("pk") if _needed(one) <= loaded]


def mark_sent(evaluation_id: int) -> None:
    """Note that the task has been sent, so that it is not sent again until its lease has expired."""
    _waiting().filter(pk=evaluation_id).update(state=EvaluationState.WAITING, lease_until=until(LEASE))


def _waiting() -> QuerySet[Evaluation]:
    """Evaluations that no task has claimed and for which none has been sent."""
    nobody = Q(lease_until=None) | Q(lease_until__lte=Now())
    return Evaluation.objects.filter(nobody, state__in=(EvaluationState.WAITING, EvaluationState.RUNNING))


def _needed(evaluation: Evaluation) -> set[int | None]:
    """The versions that must be loaded."""
    return {evaluation.version_id, evaluation.against_id, evaluation.version.parent_id} - {None}


def _loaded() -> set[int | None]:
    return set(Serving.objects.filter(state=ServingState.READY).values_list("version_id", flat=True))


def evaluate(evaluation_id: int) -> None:
    lease = take(evaluation_id)
    if lease is None:
        return
    evaluation = lease.row
    try:
        with contextlib.suppress(Lost):
            report = asyncio.run(_Task(lease).run())
            lease.write(
                state=EvaluationState.READY, report=report, lease_until=None, finished=timezone.now(), problem=""
            )
            log.info("evaluated", version=evaluation.version.name)
    except NotReady:
        with contextlib.suppress(Lost):
            lease.write(state=EvaluationState.WAITING, lease_until=None, attempt=lease.attempt - 1)
    except ServerFailed as error:
        _failed(lease, str(error), again=lease.attempt < TRIES)
    except (OperationalError, InterfaceError):
        log.exception("evaluation_without_database")  # its lease expires, and it is started again
    except Exception:
        _failed(lease, "An unexpected error occurred during the evaluation; see the worker's log.", again=False)
        raise


def take(evaluation_id: int) -> Lease[Evaluation] | None:
    """The lease on an evaluation; None if another task has it, it has ended, or it needs a version that is not loaded."""
    free = Evaluation.objects.filter(Q(state=EvaluationState.WAITING) | expired(), pk=evaluation_id)
    free.filter(attempt__gte=MOST_ATTEMPTS).update(
        state=EvaluationState.FAILED,
        lease_until=None,
        finished=timezone.now(),
        problem=f"It was started {MOST_ATTEMPTS} times without finishing: its worker died.",
    )
    found = free.select_related("version").first()
    if found is None:
        return None
    if not _needed(found) <= _loaded():
        free.filter(state=EvaluationState.WAITING).update(lease_until=None)  # it is due as soon as they are loaded
        return None
    return claim(free.select_related("version__parent", "against"), LEASE)


def _failed(lease: Lease[Evaluation], problem: str, *, again: bool) -> None:
    log.warning("evaluation_failed", version=lease.row.version.name, problem=problem, again=again)
    with contextlib.suppress(Lost):
        if again:
            lease.write(state=EvaluationState.WAITING, lease_until=until(LEASE), problem=problem[:1000])
        else:
            lease.write(state=EvaluationState.FAILED, lease_until=None, finished=timezone.now(), problem=problem[:1000])


async def _in_thread(do: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Run a function in a thread, and return the thread's connection to the pool, which would be exhausted otherwise."""

    def run() -> T:
        try:
            return do(*args, **named)
        finally:
            connection.close()

    return await asyncio.to_thread(run)


class _Task:
    def __init__(self, lease: Lease[Evaluation]) -> None:
        self.lease, self.evaluation = lease, lease.row

    async def run(self) -> dict[str, Any]:
        """The report as JSON. Raises Lost as soon as another task has the evaluation."""
        measuring, renewing = asyncio.create_task(self._measure()), asyncio.create_task(self._renew())
        try:
            await asyncio.wait((measuring, renewing), return_when=asyncio.FIRST_COMPLETED)
            return await (measuring if measuring.done() else renewing)
        finally:
            measuring.cancel()
            renewing.cancel()

    async def _renew(self) -> NoReturn:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await _in_thread(self.lease.renew)

    async def _measure(self) -> dict[str, Any]:
        evaluation = self.evaluation
        version, against = evaluation.version, evaluation.against
        async with contextlib.AsyncExitStack() as stack:
            clients = {
                one.pk: await stack.enter_async_context(Client(await _in_thread(_served, one)))
                for one in (version, against, version.parent)
                if one is not None
            }
            asked, context = await self._assignments(clients)
            both = [one for one in (version, against) if one is not None]
            written = await asyncio.gather(*(self._stories(one, clients[one.pk], asked, context) for one in both))
            stories = {one.pk: some for one, some in zip(both, written, strict=True)}
            held_out = await _in_thread(lambda: list(_held_out(version)))
            held_out = await _fitting(clients.values(), held_out, context)
            scored = await asyncio.gather(*(_scores(client, held_out) for client in clients.values()))
            pairs = dict(zip(clients, scored, strict=True))
        copied = {one.pk: await _in_thread(_overlaps, one, stories[one.pk]) for one in both}
        facts = [
            Facts(
                stories[one.pk],
                pairs[one.pk],
                pairs[one.parent_id] if one.parent_id in pairs and one.pk == version.pk else (),
                copied[one.pk],
            )
            for one in both
        ]
        report = await _in_thread(
            build_report, asked, context, facts[0], facts[1] if against else None, seed=evaluation.seed
        )
        found: dict[str, Any] = report.model_dump(mode="json")
        return found

    async def _assignments(self, clients: dict[int, Client]) -> tuple[list[Assignment], int]:
        """The assignments, which fit the smallest context of the models, and this context in tokens, which the evaluation may limit."""
        evaluation = self.evaluation
        if not evaluation.assignments:
            contexts = [await client.context() for client in clients.values()]
            context = min(filter(None, [evaluation.context, *contexts]))
            asked = assignments(context, each=evaluation.each, seed=evaluation.seed)
            evaluation.assignments, evaluation.context = [one.model_dump() for one in asked], context
            await _in_thread(self.lease.write, assignments=evaluation.assignments, context=evaluation.context)
        return [Assignment.model_validate(one) for one in evaluation.assignments], evaluation.context

    async def _stories(
        self, version: ModelVersion, client: Client, asked: list[Assignment], context: int
    ) -> list[Written]:
        """One story for each assignment. Stories of this or another evaluation with the same assignments are reused."""
        there = await _in_thread(_kept, self.evaluation, version)

        async def write(number: int, one: Assignment) -> Written:
            if number in there:
                return there[number]
            written = await client.write(
                title=one.title,
                premise=one.premise,
                target=one.target,
                seed=one.seed,
                context=context,
                sampling=one.sampling,
            )
            await _in_thread(_keep, self.evaluation, version, number, written)
            return written

        return list(await asyncio.gather(*(write(number, one) for number, one in enumerate(asked))))


def _served(version: ModelVersion) -> Served:
    serving = Serving.objects.filter(version=version, state=ServingState.READY).first()
    if serving is None:
        raise NotReady
    url, key = server_of(serving)
    return Served(url, version.served_name, key)


def _kept(evaluation: Evaluation, version: ModelVersion) -> dict[int, Written]:
    same = Evaluation.objects.filter(assignments=evaluation.assignments, context=evaluation.context)
    found = Sample.objects.filter(evaluation__in=same, version=version).order_by("evaluation_id")
    kept = {one.number: Written(one.text, one.words, one.ended) for one in found}
    mine = set(Sample.objects.filter(evaluation=evaluation, version=version).values_list("number", flat=True))
    for number, written in kept.items():
        if number not in mine:
            _keep(evaluation, version, number, written)
    return kept


def _keep(evaluation: Evaluation, version: ModelVersion, number: int, written: Written) -> None:
    Sample.objects.get_or_create(
        evaluation=evaluation,
        version=version,
        number=number,
        defaults={"text": written.text, "words": written.words, "ended": written.ended},
    )


async def _fitting(clients: Collection[Client], held_out: list[dict[str, Any]], context: int) -> list[dict[str, Any]]:
    """Pairs whose texts both fit into the context of every model."""

    async def fits(row: dict[str, Any]) -> bool:
        whole = [[*row["prompt"], *row[side]] for side in ("chosen", "rejected")]
        return all([await client.fits(one, context) for client in clients for one in whole])

    found = await asyncio.gather(*(fits(row) for row in held_out))
    return [row for row, fitting in zip(held_out, found) if fitting]


async def _scores(client: Client, held_out: list[dict[str, Any]]) -> list[Pair]:
    async def score(row: dict[str, Any]) -> Pair:
        return Pair(
            await client.score(row["prompt"], row["chosen"]), await client.score(row["prompt"], row["rejected"])
        )

    return list(await asyncio.gather(*(score(row) for row in held_out)))


def _held_out(version: ModelVersion) -> Iterator[dict[str, Any]]:
    """Held-out preferences of the version's own snapshot, or of the newest one."""
    run = Run.objects.filter(version=version).select_related("snapshot").first()
    snapshot = run.snapshot if run is not None else None
    if snapshot is None:
        ready = Snapshot.objects.filter(kind=SnapshotKind.PREFERENCE, state=Making.READY)
        snapshot = ready.order_by("-number").first()
    if snapshot is None:
        return
    rows = SnapshotRow.objects.filter(snapshot=snapshot, gone=None).order_by("index")
    briefs = rows.exclude(brief=None).values_list("index", "brief__sha256")
    apart = [index for index, sha256 in briefs.iterator() if is_held_out(sha256)]
    chosen = random.Random(0).sample(apart, min(MOST_PAIRS, len(apart)))
    for row in rows.filter(index__in=chosen).select_related("brief", "chosen", "rejected"):
        yield {**example_of(row)}


def _overlaps(version: ModelVersion, stories: list[Written]) -> list[float]:
    """For each story, the share copied from the training data of the version and its ancestors, 0 to 1; empty if these are unknown."""
    made_by = runs_of(version)
    if not made_by:
        return []
    overlap = Overlap([story.text for story in stories])
    for run in made_by.values():
        for line, is_apart in examples_of(run):
            for text in () if is_apart else _texts(line):
                overlap.learned(text)
    return overlap.shares()


def _texts(line: dict[str, Any]) -> Iterator[str]:
    if "text" in line:
        yield str(line["text"])
    for name in ("messages", "completion", "chosen"):
        for message in line.get(name, ()):
            if message.get("role") == "assistant":
                yield str(message["content"])
