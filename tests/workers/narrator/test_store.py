"""The SQL of the narrator, on the real PostgreSQL: the queue, the fence, and an append that is sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone

from tests.faults.narrators import check_log, log_of, make_story
from workers.narrator.store import ChunkRow, GenerationRow, Store
from writer.stories.models import Generation, State, Wish

pytestmark = pytest.mark.django_db(transaction=True)
T = TypeVar("T")


def run(work: Callable[[Store], Awaitable[T]], *, holder: str = "a", streams: int = 10, lease: float = 10) -> T:
    parameters = connection.get_connection_params()
    for name in ("cursor_factory", "context"):
        parameters.pop(name, None)

    async def with_store() -> T:
        store = Store(parameters, holder=holder, lease=lease, streams=streams)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(with_store())


def row(generation: UUID, attempt: int, before: int, seq: int, chars: int, **more: object) -> GenerationRow:
    return GenerationRow(generation, attempt, before, seq, chars, 0, chars, **more)  # type: ignore[arg-type]


def test_the_oldest_is_claimed_first_and_what_was_left_behind_before_it() -> None:
    stories = [make_story().pk for _ in range(4)]
    assert set(run(lambda store: store.claim(most=2))) == set(stories[:2])
    Generation.objects.filter(pk=stories[1]).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert set(run(lambda store: store.claim(most=2), holder="b")) == {stories[1], stories[2]}
    left_behind = Generation.objects.get(pk=stories[1])
    assert (left_behind.attempt, left_behind.holder, left_behind.failures) == (2, "b", 1)
    assert Generation.objects.get(pk=stories[2]).failures == 0


def test_no_more_than_there_is_room_for_however_many_ask() -> None:
    for _ in range(12):
        make_story()

    async def claim_all(store: Store) -> list[list[UUID]]:
        others = [Store(store._writes._parameters, holder=f"n{n}", lease=10, streams=5) for n in range(6)]
        try:
            return await asyncio.gather(*(other.claim(most=3) for other in others))
        finally:
            for other in others:
                await other.close()

    claimed = [generation for batch in run(claim_all) for generation in batch]
    assert len(claimed) == len(set(claimed)) == 5
    assert Generation.objects.filter(state=State.RUNNING).count() == 5


def test_an_append_is_one_statement_for_many_and_the_fenced_one_writes_nothing() -> None:
    mine, lost = make_story().pk, make_story().pk

    async def work(store: Store) -> set[UUID]:
        await store.claim(most=2)
        rows = [row(mine, 1, 0, 1, 4), row(lost, 1, 0, 1, 4)]
        chunks = [ChunkRow(mine, 1, "story", 0, "mine"), ChunkRow(lost, 1, "story", 0, "lost")]
        await store._reads.fetch("UPDATE stories_generation SET attempt = 2 WHERE id = %(id)s", id=lost)
        return set(await store.append(rows, chunks))

    assert run(work) == {mine}
    assert check_log(Generation.objects.get(pk=mine)) == "mine"
    assert log_of(Generation.objects.get(pk=lost)) == ""
    assert Generation.objects.get(pk=lost).last_seq == 0


@pytest.mark.parametrize("state", [State.PAUSED, State.STOPPED, State.DONE, State.FAILED])
def test_what_is_at_rest_takes_nothing_more(state: State) -> None:
    generation = make_story().pk

    async def work(store: Store) -> bool:
        await store.claim(most=1)
        ending = "landed" if state == State.DONE else ""
        await store.append(
            [row(generation, 1, 0, 1, 3, state=state.value, ending=ending)],
            [ChunkRow(generation, 1, "story", 0, "end")],
        )
        return bool(await store.append([row(generation, 1, 1, 2, 7)], [ChunkRow(generation, 2, "story", 3, "more")]))

    assert run(work) is False
    there = Generation.objects.get(pk=generation)
    assert check_log(there) == "end"
    assert there.state == state
    assert there.lease_until is None
    assert (there.finished is None) == (state == State.PAUSED)


def test_an_append_whose_commit_was_not_heard_of_is_sent_again() -> None:
    generation = make_story().pk
    batch = (
        [row(generation, 1, 0, 2, 7)],
        [ChunkRow(generation, 1, "story", 0, "one"), ChunkRow(generation, 2, "story", 3, " two")],
    )

    async def work(store: Store) -> None:
        await store.claim(most=1)
        assert set(await store.append(*batch)) == {generation}
        assert set(await store.append(*batch)) == {generation}  # the same again: it was written
        assert set(await store.append([row(generation, 1, 2, 3, 9)], [ChunkRow(generation, 3, "story", 7, " 3")])) == {
            generation
        }
        assert set(await store.append(*batch)) == set()  # long ago

    run(work)
    assert check_log(Generation.objects.get(pk=generation)) == "one two 3"


def test_an_append_brings_back_wish_and_head_and_takes_the_wish_with_the_rest() -> None:
    generation = make_story()
    Generation.objects.update(wish=Wish.PAUSE)

    async def work(store: Store) -> None:
        await store.claim(most=1)
        answer = (await store.append([row(generation.pk, 1, 0, 0, 0)], []))[generation.pk]
        assert (answer.wish, answer.head) == ("pause", generation.story.head_id)
        await store.append([row(generation.pk, 1, 0, 0, 0, state="paused")], [])

    run(work)
    generation.refresh_from_db()
    assert (generation.state, generation.wish) == (State.PAUSED, "")


def test_a_connection_that_breaks_comes_back() -> None:
    generation = make_story().pk

    async def work(store: Store) -> None:
        await store.claim(most=1)
        for number in range(3):
            rows = [row(generation, 1, number, number + 1, 2 * number + 2)]
            await store.append(rows, [ChunkRow(generation, number + 1, "story", 2 * number, f" {number}")])
            await store._reads.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE %(like)s",
                like="%WITH rows AS%",
            )

    run(work)
    assert check_log(Generation.objects.get(pk=generation)) == " 0 1 2"


def test_a_released_story_is_taken_up_at_once_and_without_blame() -> None:
    first, second = make_story().pk, make_story().pk

    async def work(store: Store) -> list[UUID]:
        await store.claim(most=1)
        await store.release([row(first, 1, 0, 0, 0)])
        return await store.claim(most=1)

    assert run(work) == [first]
    assert Generation.objects.get(pk=first).failures <= 1
    assert Generation.objects.get(pk=second).state == State.QUEUED
