"""Random interleavings of chunk, crash, duplicate, loss and reordered delivery, against the real SQL.

Narrators append, die, freeze and come back late; what they call out travels to a reader that gets each call never, once or twice, in
any order, and asks PostgreSQL when it must. Whatever happens: the log is one text without a gap, whoever lost the
lease has written nothing, and at the end the reader holds the text of the log.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.narrators import check_log, make_story
from tests.reader import Reader
from workers.narrator.calls import chunk_call
from workers.narrator.store import ChunkRow, GenerationRow, Store
from writer.stories.models import Generation

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 2), st.integers(1, 3)),
        st.tuples(st.sampled_from(["takeover", "resend"]), st.integers(0, 2), st.just(0)),
        st.tuples(st.sampled_from(["deliver", "duplicate", "lose"]), st.integers(0, 10), st.just(0)),
        st.tuples(st.sampled_from(["heartbeat", "reconnect"]), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@dataclass
class Pen:
    """A narrator's view of the story: what it believes to be the end of the log, and the attempt it holds."""

    store: Store
    attempt: int = 0
    seq: int = 0
    lengths: dict[str, int] = field(default_factory=lambda: {"story": 0, "thinking": 0})
    last: tuple[list[GenerationRow], list[ChunkRow]] | None = None


class World:
    def __init__(self, generation: UUID, stores: list[Store]) -> None:
        self.generation = generation
        self.pens = [Pen(store) for store in stores]
        self.calls: list[dict[str, Any]] = []
        self.reader = Reader()
        self.written = {"story": "", "thinking": ""}
        self.fence = 0
        self.number = 0

    async def takeover(self, pen: Pen) -> None:
        await pen.store._reads.fetch(
            "UPDATE stories_generation SET lease_until = '2020-01-01' WHERE id = %(id)s AND state = 'running'",
            id=self.generation,
        )
        assert await pen.store.claim(most=1) == [self.generation]
        (row,) = await pen.store.load([self.generation])
        self.fence = pen.attempt = row.attempt
        pen.seq, pen.lengths, pen.last = row.last_seq, {"story": len(row.story), "thinking": len(row.thinking)}, None
        assert (row.story, row.thinking) == (self.written["story"], self.written["thinking"])

    async def append(self, pen: Pen, count: int) -> None:
        if not pen.attempt:
            return
        chunks: list[ChunkRow] = []
        before = pen.seq
        lengths = dict(pen.lengths)
        for _ in range(count):
            self.number += 1
            channel = "thinking" if self.number % 3 == 0 else "story"
            text = f" {self.number}🌊"
            before_chunk = pen.seq + len(chunks) + 1
            chunks.append(ChunkRow(self.generation, before_chunk, channel, lengths[channel], text))
            lengths[channel] += len(text)
        row = GenerationRow(
            self.generation, pen.attempt, before, before + count, lengths["story"], lengths["thinking"], self.number
        )
        pen.last = ([row], chunks)
        taken = self.generation in await pen.store.append([row], chunks)
        assert taken == (pen.attempt == self.fence), "the fence let the wrong one through"
        if taken:
            pen.seq, pen.lengths = row.seq, lengths
            for chunk in chunks:
                self.written[chunk.channel] += chunk.text
                name, data = chunk_call(self.generation, chunk.seq, chunk.channel, chunk.start, chunk.text, self.number)
                assert str(self.generation) in name
                self.calls.append(json.loads(data.partition(b" ")[2]))
        else:
            pen.attempt, pen.last = 0, None

    async def resend(self, pen: Pen) -> None:
        """As after a connection that broke while the commit was on its way."""
        if pen.last is not None:
            taken = self.generation in await pen.store.append(*pen.last)
            assert taken == (pen.attempt == self.fence)

    async def log(self, after: int) -> list[dict[str, Any]]:
        """What the server answers to {"after": seq}, from PostgreSQL."""
        chunks = await self.pens[0].store._reads.fetch(
            "SELECT seq, channel, start, text FROM stories_chunk WHERE generation_id = %(id)s AND seq > %(after)s ORDER BY seq",
            id=self.generation, after=after,
        )  # fmt: skip
        return [
            {
                "type": "chunk",
                "first": c.seq,
                "seq": c.seq,
                "channel": c.channel,
                "start": c.start,
                "text": c.text,
                "words": 0,
            }
            for c in chunks
        ]

    async def last_seq(self) -> int:
        (row,) = await self.pens[0].store._reads.fetch(
            "SELECT last_seq FROM stories_generation WHERE id = %(id)s", id=self.generation
        )
        return int(row.last_seq)

    async def receive(self, message: dict[str, Any]) -> None:
        answer = self.reader.receive(message)
        if answer is not None:
            for chunk in await self.log(answer["after"]):
                assert self.reader.receive(chunk) is None

    async def deliver(self, at: int, *, keep: bool) -> None:
        if self.calls:
            at %= len(self.calls)
            await self.receive(self.calls[at] if keep else self.calls.pop(at))

    async def heartbeat(self) -> None:
        await self.receive({"type": "heartbeat", "last_seq": await self.last_seq()})

    async def end(self) -> None:
        text = self.written["story"]
        await self.receive(
            {"type": "end", "state": "done", "ending": "landed", "last_seq": await self.last_seq(), "chars": len(text),
             "sha256": sha256(text.encode()).hexdigest(), "words": 0}
        )  # fmt: skip

    async def take(self, step: str, which: int, count: int) -> None:
        pen = self.pens[which % 3]
        match step:
            case "append":
                await self.append(pen, count)
            case "takeover":
                await self.takeover(pen)
            case "resend":
                await self.resend(pen)
            case "deliver" | "duplicate":
                await self.deliver(which, keep=step == "duplicate")
            case "lose":
                if self.calls:
                    self.calls.pop(which % len(self.calls))
            case "heartbeat":
                await self.heartbeat()
            case "reconnect":
                for chunk in await self.log(self.reader.seq):
                    self.reader.receive(chunk)


async def play(generation: UUID, steps: list[tuple[str, int, int]]) -> World:
    parameters = connection.get_connection_params()
    for name in ("cursor_factory", "context"):
        parameters.pop(name, None)
    stores = [Store(parameters, holder=f"n{number}", lease=60, streams=8) for number in range(3)]
    world = World(generation, stores)
    try:
        await world.takeover(world.pens[0])
        for step in steps:
            await world.take(*step)
            assert world.written["story"].startswith(world.reader.text)
        await world.end()
    finally:
        for store in stores:
            await store.close()
    return world


@pytest.mark.django_db(transaction=True)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_whatever_happens_the_reader_holds_the_log(steps: list[tuple[str, int, int]]) -> None:
    Generation.objects.filter(state__in=("queued", "running")).update(state="stopped", lease_until=None)
    generation = make_story()
    world = asyncio.run(play(generation.pk, steps))
    assert check_log(generation) == world.written["story"] == world.reader.text
