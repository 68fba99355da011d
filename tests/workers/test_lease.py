"""The fence (`workers.lease`), of each kind of row that has one: only the holder of the newest attempt may write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import pytest
from django.db import connection
from django.db.models import Model
from django.utils import timezone

from tests.faults.narrators import make_story
from workers.jobs import evaluate
from workers.jobs.runs import claim
from workers.jobs.runs.results import end
from workers.lease import Lease, Lost, held
from workers.narrator.store import ChunkRow, GenerationRow, Store
from writer.accounts.models import User
from writer.stories.models import Chunk, Generation, ModelVersion
from writer.studio.models import Dataset, Evaluation, Machine, Run, Serving, ServingState

pytestmark = pytest.mark.django_db(transaction=True)
T = TypeVar("T")


class Kind(Protocol):
    """What the process that works on such a row does to it. An attempt is the answer of a claim, and what the others are done with."""

    row: Any

    def claim(self) -> int | None: ...
    def renew(self, attempt: int) -> bool: ...
    def write(self, attempt: int) -> bool: ...
    def finish(self, attempt: int) -> bool: ...


class OfGeneration:
    """By the narrator's SQL, whose append is renewal and writing in one."""

    def __init__(self) -> None:
        self.row = make_story()

    def _sql(self, work: Callable[[Store], Awaitable[T]]) -> T:
        parameters = connection.get_connection_params()
        for name in ("cursor_factory", "context"):
            parameters.pop(name, None)

        async def with_store() -> T:
            store = Store(parameters, holder="a", lease=15, streams=10)
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(with_store())

    def claim(self) -> int | None:
        if not self._sql(lambda store: store.claim(most=1)):
            return None
        return Generation.objects.get(pk=self.row.pk).attempt

    def _append(self, attempt: int, text: str, **more: str) -> bool:
        written = Generation.objects.get(pk=self.row.pk).last_seq
        seq = written + bool(text)
        row = GenerationRow(self.row.pk, attempt, written, seq, len(text) * seq, 0, 0, **more)
        chunks = [ChunkRow(self.row.pk, seq, "story", len(text) * written, text)] if text else []
        return bool(self._sql(lambda store: store.append([row], chunks)))

    def renew(self, attempt: int) -> bool:
        return self._append(attempt, "")

    def write(self, attempt: int) -> bool:
        before = Chunk.objects.count()
        taken = self._append(attempt, " word")
        assert Chunk.objects.count() == before + taken
        return taken

    def finish(self, attempt: int) -> bool:
        return self._append(attempt, "", state="done", ending="ended")


class OfRowWithLease:
    row: Any
    lasts: timedelta

    def _lease(self, attempt: int) -> Lease[Model]:
        return Lease(self.row, attempt, self.lasts)

    def renew(self, attempt: int) -> bool:
        return not lost(self._lease(attempt).renew)

    def write(self, attempt: int) -> bool:
        return not lost(lambda: self._lease(attempt).write(problem=f"by attempt {attempt}"))


class OfRun(OfRowWithLease):
    """By the keeper, which takes a run from the queue, and followers. A folder's lock sees to it that a follower takes over from a dead one only."""

    lasts = claim.LEASE

    def __init__(self, queued: Run, machine: Machine) -> None:
        self.row, self.machine = queued, machine

    def claim(self) -> int | None:
        if claim.claim(self.machine) is None and self.row.pk not in claim.unfollowed(self.machine):
            return None
        lease = claim.take_over(self.row.pk)
        return lease.attempt if lease else None

    def finish(self, attempt: int) -> bool:
        return end(self.row, attempt, "stopped", "")


class OfEvaluation(OfRowWithLease):
    lasts = evaluate.LEASE

    def __init__(self, model: ModelVersion) -> None:
        Serving.objects.create(version=model, state=ServingState.READY)
        self.row = Evaluation.objects.create(version=model, each=1)

    def claim(self) -> int | None:
        lease = evaluate.take(self.row.pk)
        return lease.attempt if lease else None

    def finish(self, attempt: int) -> bool:
        ended = {"state": "ready", "lease_until": None, "finished": timezone.now()}
        return not lost(lambda: self._lease(attempt).write(**ended))


def lost(work: Callable[[], object]) -> bool:
    with suppress(Lost):
        work()
        return False
    return True


@pytest.fixture(params=["generation", "run", "evaluation"])
def kind(request: pytest.FixtureRequest, admin: User) -> Kind:
    if request.param == "generation":
        return OfGeneration()
    model = ModelVersion.objects.create(name="a model", served_name="a-model", tokenizer="nowhere")
    if request.param == "evaluation":
        return OfEvaluation(model)
    data = Dataset.objects.create(name="Stories", kind="conversations", folder="stories", by=admin)
    machine = Machine.objects.create(name="here", seen=timezone.now())
    machine.gpus.create(index=0, name="a GPU")
    run = Run.objects.create(
        recipe="sft", settings={}, base=model, dataset=data, by=admin, state="queued", queued=timezone.now(), plan={}
    )
    return OfRun(run, machine)


def state(kind: Kind) -> dict[str, Any]:
    """All of the row as it is in the database."""
    found: dict[str, Any] = type(kind.row).objects.filter(pk=kind.row.pk).values().get()
    return found


def expire(kind: Kind) -> None:
    type(kind.row).objects.filter(pk=kind.row.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def test_a_claim_is_a_new_attempt_with_a_lease(kind: Kind) -> None:
    assert (kind.claim(), state(kind)["state"]) == (1, "running")
    assert timezone.now() < state(kind)["lease_until"]
    assert kind.claim() is None, "it has a holder"
    assert kind.write(1)


def test_of_two_claimers_one_holds_the_row(kind: Kind) -> None:
    def claimed(_: int) -> int | None:
        try:
            return kind.claim()
        finally:
            connection.close()

    for attempt in (1, 2):
        with ThreadPoolExecutor(2) as pool:
            answers = {one for one in pool.map(claimed, range(2)) if one is not None}
        assert state(kind)["attempt"] == max(answers)
        assert [one for one in answers if held(kind.row, one).exists()] == [state(kind)["attempt"]]
        assert attempt <= state(kind)["attempt"]
        expire(kind)


def test_a_renewed_lease_does_not_expire(kind: Kind) -> None:
    kind.claim()
    expire(kind)
    assert kind.renew(1), "nobody else has claimed it"
    assert timezone.now() < state(kind)["lease_until"]
    assert kind.claim() is None
    assert state(kind)["attempt"] == 1


def test_a_stale_holder_can_neither_renew_nor_write_nor_end(kind: Kind) -> None:
    kind.claim()
    expire(kind)
    assert kind.claim() == 2
    before = state(kind)
    assert not kind.renew(1)
    assert not kind.write(1)
    assert not kind.finish(1)
    assert state(kind) == before
    assert kind.write(2)
    assert kind.renew(2)


def test_what_is_at_rest_is_nobodys(kind: Kind) -> None:
    kind.claim()
    assert kind.finish(1)
    before = state(kind)
    assert before["lease_until"] is None
    assert kind.claim() is None
    assert not kind.renew(1)
    assert not kind.write(1)
    assert state(kind) == before
