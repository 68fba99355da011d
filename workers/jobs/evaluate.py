"""The report of a version, by one task: it writes the stories, scores the held-out pairs, looks for what was copied, and stores the figures.

What is written is stored story by story, so a task that dies is begun again from there. A lease says that one is at work; it is
renewed by a ticker of its own, since a long story takes longer than any lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Iterator
from datetime import timedelta
from typing import Any, NoReturn, ParamSpec, TypeVar

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from training.evaluate.overlap import Overlap
from training.evaluate.served import Client, Served, Written
from training.evaluate.version import Assignment, Facts, Pair, assignments, build_report
from training.serving.http import ServerFailed
from workers.jobs.runs.material import lines_of
from workers.serving.own import home
from writer.editorial.models import Making, Snapshot, SnapshotKind, SnapshotRow
from writer.editorial.snapshots.formats import example_of
from writer.stories.models import ModelVersion
from writer.studio.held_out import is_held_out
from writer.studio.lineage import runs_of
from writer.studio.models import Evaluation, EvaluationState, Run, Sample, Serving, ServingState

LEASE = timedelta(seconds=30)
BEAT = 5.0
MOST_PAIRS = 48
TEMPERATURE = 0.8
TRIES = 3
MOST_ATTEMPTS = 6
"""Of which some may have killed their worker."""

P = ParamSpec("P")
T = TypeVar("T")
log = structlog.get_logger()


class NotReady(Exception):
    """A version that is needed is not loaded. The task comes again when it is."""


def due() -> list[int]:
    """Evaluations that wait, or whose task died, and whose versions are all loaded."""
    waiting = Evaluation.objects.filter(state__in=(EvaluationState.WAITING, EvaluationState.RUNNING)).exclude(
        lease_until__gt=timezone.now()
    )
    loaded = set(Serving.objects.filter(state=ServingState.READY).values_list("version_id", flat=True))
    return [
        pk
        for pk, *versions in waiting.order_by("pk").values_list("pk", "version_id", "against_id", "version__parent_id")
        if {one for one in versions if one is not None} <= loaded
    ]


def mark_sent(evaluation_id: int) -> None:
    """The message is on its way: so long it is not sent again. A task that died with it has lost it."""
    now = timezone.now()
    unfinished = Evaluation.objects.filter(
        pk=evaluation_id, state__in=(EvaluationState.WAITING, EvaluationState.RUNNING)
    )
    unfinished.exclude(lease_until__gt=now).update(state=EvaluationState.WAITING, lease_until=now + LEASE)


def evaluate(evaluation_id: int) -> None:
    evaluation = _claim(evaluation_id)
    if evaluation is None:
        return
    try:
        report = asyncio.run(_Task(evaluation).run())
    except _Lost:
        return
    except NotReady:
        _release(evaluation)
    except ServerFailed as error:
        _failed(evaluation, str(error), again=evaluation.attempt < TRIES)
    except (OperationalError, InterfaceError):
        log.exception("evaluation_without_database")  # its lease runs out, and it is begun again
    except Exception:
        _failed(evaluation, "Something went wrong while it was measured; the worker's log says what.", again=False)
        raise
    else:
        _ours(evaluation).update(
            state=EvaluationState.READY, report=report, lease_until=None, finished=timezone.now(), problem=""
        )
        log.info("evaluated", version=evaluation.version.name)


def _claim(evaluation_id: int) -> Evaluation | None:
    with transaction.atomic():
        found = (
            Evaluation.objects.select_for_update(of=("self",), skip_locked=True)
            .select_related("version__parent", "against")
            .filter(pk=evaluation_id, state__in=(EvaluationState.WAITING, EvaluationState.RUNNING))
            .first()
        )
        now = timezone.now()
        if found is None or (found.state == EvaluationState.RUNNING and found.lease_until and found.lease_until > now):
            return None
        if found.attempt >= MOST_ATTEMPTS:
            found.state, found.lease_until, found.finished = EvaluationState.FAILED, None, now
            found.problem = f"It was begun {found.attempt} times, and never came to its end: its worker died."
            found.save(update_fields=["state", "lease_until", "finished", "problem"])
            return None
        found.state, found.attempt, found.lease_until = EvaluationState.RUNNING, found.attempt + 1, now + LEASE
        found.save(update_fields=["state", "attempt", "lease_until"])
        return found


def _ours(evaluation: Evaluation) -> Any:
    return Evaluation.objects.filter(pk=evaluation.pk, attempt=evaluation.attempt, state=EvaluationState.RUNNING)


def _release(evaluation: Evaluation) -> None:
    _ours(evaluation).update(state=EvaluationState.WAITING, lease_until=None, attempt=evaluation.attempt - 1)


def _failed(evaluation: Evaluation, problem: str, *, again: bool) -> None:
    log.warning("evaluation_failed", version=evaluation.version.name, problem=problem, again=again)
    if again:
        _ours(evaluation).update(
            state=EvaluationState.WAITING, lease_until=timezone.now() + LEASE, problem=problem[:1000]
        )
    else:
        _ours(evaluation).update(
            state=EvaluationState.FAILED, lease_until=None, finished=timezone.now(), problem=problem[:1000]
        )


class _Lost(Exception):
    """Another task has this evaluation."""


async def _aside(do: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """In a thread, whose connection goes back to the pool: threads come and go, and the pool would run dry."""

    def run() -> T:
        try:
            return do(*args, **named)
        finally:
            connection.close()

    return await asyncio.to_thread(run)


class _Task:
    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation

    async def run(self) -> dict[str, Any]:
        """The figures. Raises _Lost as soon as another task has the evaluation."""
        measuring, ticking = asyncio.create_task(self._measure()), asyncio.create_task(self._tick())
        try:
            await asyncio.wait((measuring, ticking), return_when=asyncio.FIRST_COMPLETED)
            return await (measuring if measuring.done() else ticking)
        finally:
            measuring.cancel()
            ticking.cancel()

    async def _tick(self) -> NoReturn:
        while True:
            await asyncio.sleep(BEAT)
            if not await _aside(_ours(self.evaluation).update, lease_until=timezone.now() + LEASE):
                raise _Lost

    async def _measure(self) -> dict[str, Any]:
        evaluation = self.evaluation
        version, against = evaluation.version, evaluation.against
        async with contextlib.AsyncExitStack() as stack:
            clients = {
                one.pk: await stack.enter_async_context(Client(await _aside(_served, one)))
                for one in (version, against, version.parent)
                if one is not None
            }
            asked, context = await self._assignments(clients)
            both = [one for one in (version, against) if one is not None]
            written = await asyncio.gather(*(self._stories(one, clients[one.pk], asked, context) for one in both))
            stories = {one.pk: some for one, some in zip(both, written, strict=True)}
            held_out = await _aside(lambda: list(_held_out(version)))
            held_out = await _fitting(clients.values(), held_out, context)
            scored = await asyncio.gather(*(_scores(client, held_out) for client in clients.values()))
            pairs = dict(zip(clients, scored, strict=True))
        copied = {one.pk: await _aside(_overlaps, one, stories[one.pk]) for one in both}
        facts = [
            Facts(
                stories[one.pk],
                pairs[one.pk],
                pairs[one.parent_id] if one.parent_id in pairs and one.pk == version.pk else (),
                copied[one.pk],
            )
            for one in both
        ]
        report = await _aside(
            build_report, asked, context, facts[0], facts[1] if against else None, seed=evaluation.seed
        )
        found: dict[str, Any] = report.model_dump(mode="json")
        return found

    async def _assignments(self, clients: dict[int, Client]) -> tuple[list[Assignment], int]:
        """What all of them write: what fits into the smallest context among them."""
        evaluation = self.evaluation
        if not evaluation.assignments:
            context = min([await client.context() for client in clients.values()])
            asked = assignments(context, each=evaluation.each, seed=evaluation.seed)
            evaluation.assignments, evaluation.context = [one.model_dump() for one in asked], context
            await _aside(_ours(evaluation).update, assignments=evaluation.assignments, context=evaluation.context)
        return [Assignment.model_validate(one) for one in evaluation.assignments], evaluation.context

    async def _stories(
        self, version: ModelVersion, client: Client, asked: list[Assignment], context: int
    ) -> list[Written]:
        """One for each assignment. What is there already, here or in another evaluation of the same assignments, is not written again."""
        there = await _aside(_kept, self.evaluation, version)

        async def write(number: int, one: Assignment) -> Written:
            if number in there:
                return there[number]
            written = await client.write(
                title=one.title,
                premise=one.premise,
                target=one.target,
                seed=one.seed,
                context=context,
                temperature=TEMPERATURE,
            )
            await _aside(_keep, self.evaluation, version, number, written)
            return written

        return list(await asyncio.gather(*(write(number, one) for number, one in enumerate(asked))))


def _served(version: ModelVersion) -> Served:
    serving = Serving.objects.filter(version=version, state=ServingState.READY).first()
    if serving is None:
        raise NotReady
    url, key = (serving.url, settings.MODEL_SERVER_KEY) if serving.url else home()
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
    """Pairs of which both texts fit into the context, by everybody's tokens."""

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
    """Preferences that no version learned from: of the version's own snapshot, or of the newest."""
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
    """Of each story the share that stands word for word in what the version, or one that it was made from, learned. Empty: unknown."""
    made_by = runs_of(version)
    if not made_by:
        return []
    overlap = Overlap([story.text for story in stories])
    for run in made_by.values():
        for line, is_apart in lines_of(run):
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
