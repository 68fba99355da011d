"""The process that writes stories: hundreds at once, one asyncio task each, one append for all of them per tick.

A tick opens the valve of every answer, lets the event loop read what has gathered in the sockets, takes the text in,
appends it in one statement, and publishes it to the readers. Its length follows its own work: a fifth of a second while
that is little, up to a third when there is much. Wishes and saves of the writer come back with the append.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import structlog

from workers.narrator.calls import Call, Calls, chunk_call, state_call
from workers.narrator.desk import TRIES, Desk
from workers.narrator.prompt import Prompter
from workers.narrator.store import Answer, ChunkRow, GenerationRow, Store
from workers.narrator.upstream import Away, ModelServer
from writer.stories.models import State, Wish
from writer.stories.wake import generation_channel

log = structlog.get_logger()

_TICK_LEAST, _TICK_MOST = 0.2, 0.35
_TICK_TIMES_WORK, _TICK_PER_STORY = 6.0, 0.006
"""Seconds. A tick is six times as long as its work takes of a processor, and long enough that all stories together send
no more than some 170 chunks a second, up to sixty of them: each is work for PostgreSQL, the web server and a browser too."""
_CLAIM_AT_ONCE = 16
_LOOK_SECONDS = 1.0
"""Rows are looked at so often even when nobody calls and nothing is written."""

CRASHED = "Writing this story broke off five times in a row. Continue tries again."


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel them until they are gone. Once is not enough: redis takes a cancellation that comes while it connects for a lost connection."""
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=0.1)


class Narrator:
    def __init__(
        self, store: Store, server: ModelServer, calls: Calls, *, context: int = 0, thinking: bool = False
    ) -> None:
        self.desks: dict[UUID, Desk] = {}
        self._store, self._calls = store, calls
        self._servers = {"": server}
        self._context, self._thinking = context, thinking
        self._prompters: dict[tuple[str, bool], asyncio.Task[Prompter]] = {}
        self._urgent: dict[UUID, Desk] = {}
        self._wake_tick, self._wake_claim = asyncio.Event(), asyncio.Event()
        self._stopping = asyncio.Event()
        self._look = min(_LOOK_SECONDS, store.lease / 4)
        self._aside: set[asyncio.Task[None]] = set()

    # Life

    async def run(self) -> None:
        """Write until `stop` is called. An error of ours ends the process: the leases then do their work."""
        async with asyncio.TaskGroup() as group:
            ticks = group.create_task(self._ticks())
            others = [
                group.create_task(work)
                for work in (self._claims(), self._calls.listen(self._called), self._calls.publish_all())
            ]
            await self._stopping.wait()
            others[0].cancel()
            others[1].cancel()
            self._wake_tick.set()
            _, late = await asyncio.wait([ticks], timeout=5)
            await self._calls.flush(1)
            await _end({*late, *others})
        for desk in self.desks.values():
            desk.drop()
        await self._store.close()
        await self._calls.close()

    def stop(self) -> None:
        """Append what is there, leave the stories to others, and end."""
        self._stopping.set()

    def _called(self, about: str) -> None:
        """A generation was queued, or a writer wishes something of one."""
        self._wake_claim.set()
        try:
            desk = self.desks.get(UUID(about))
        except ValueError:
            return
        if desk is not None:
            desk.appended = 0.0
            self._hurry(desk)

    def _hurry(self, desk: Desk) -> None:
        self._urgent[desk.id] = desk
        self._wake_tick.set()

    # Claiming

    async def _claims(self) -> None:
        while True:
            claimed = await self._store.claim(most=_CLAIM_AT_ONCE)
            if claimed:
                for loaded in await self._store.load(claimed):
                    self._take_up(loaded)
            if len(claimed) < _CLAIM_AT_ONCE:
                try:
                    async with asyncio.timeout(self._look):
                        await self._wake_claim.wait()
                except TimeoutError:
                    pass
                self._wake_claim.clear()

    def _take_up(self, loaded: Any) -> None:
        if (old := self.desks.pop(loaded.id, None)) is not None:
            old.drop()  # our own lease ran out: what we still held of it is sampled anew
        desk = self.desks[loaded.id] = Desk(
            loaded,
            server=self._server,
            prompter=self._prompter,
            hurry=self._hurry,
            context=self._context,
            thinking=self._thinking,
        )
        desk.appended = time.monotonic()
        log.info("taken_up", story=str(loaded.story_id), generation=str(loaded.id), attempt=loaded.attempt)
        if loaded.wish:
            desk.rest(State.PAUSED if loaded.wish == Wish.PAUSE else State.STOPPED)
        elif loaded.failures >= TRIES:
            desk.rest(State.FAILED, CRASHED)
        else:
            desk.task = asyncio.create_task(desk.write())
            desk.task.add_done_callback(self._task_done)
        self._calls.publish([state_call(desk.id)])

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            # A fault of ours in one story: its row keeps its lease until that runs out, and is then tried again.
            for desk in [desk for desk in self.desks.values() if desk.task is task]:
                del self.desks[desk.id]
            log.error("story_broke_off", exc_info=error)

    async def _server(self, version: int) -> ModelServer:
        """Where this version can be asked now. Raises Away while it is being loaded."""
        place = await self._store.place(version)
        if place is None:
            raise Away("the version is not loaded")
        if place not in self._servers:
            home = self._servers[""]
            self._servers[place] = ModelServer(place, home.key, answer_seconds=home.answer_seconds)
        return self._servers[place]

    async def _prompter(self, tokenizer: str, thinking: bool) -> Prompter:
        key = tokenizer, thinking
        loading = self._prompters.get(key)
        if loading is None or (loading.done() and (loading.cancelled() or loading.exception() is not None)):
            loading = asyncio.create_task(asyncio.to_thread(Prompter, tokenizer, thinking=thinking))
            self._prompters[key] = loading
        return await asyncio.shield(loading)

    # Ticks

    async def _ticks(self) -> None:
        work = 0.0
        next_tick = time.monotonic()
        while not self._stopping.is_set():
            now = time.monotonic()
            if now >= next_tick:
                spent = time.thread_time()
                await self._tick(list(self.desks.values()))
                work += 0.2 * (time.thread_time() - spent - work)
                tick = max(_TICK_LEAST, _TICK_TIMES_WORK * work, _TICK_PER_STORY * len(self.desks))
                next_tick = now + min(tick, _TICK_MOST)
            elif self._urgent:
                urgent, self._urgent = self._urgent, {}
                await self._tick([desk for desk in urgent.values() if self.desks.get(desk.id) is desk])
            self._wake_tick.clear()
            if not self._urgent and not self._stopping.is_set():
                try:
                    async with asyncio.timeout_at(asyncio.get_running_loop().time() + next_tick - time.monotonic()):
                        await self._wake_tick.wait()
                except TimeoutError:
                    pass
        await self._tick(list(self.desks.values()))
        await self._store.release(desk.writing.take()[0] for desk in self.desks.values())

    async def _tick(self, desks: Iterable[Desk]) -> None:
        """Read, append, publish: once for all of `desks`."""
        desks = list(desks)
        for desk in desks:
            desk.open_valve()
        await asyncio.sleep(0)  # the loop reads the sockets...
        await asyncio.sleep(0)  # ...before it comes back here (asyncio's own loop needs a second turn)
        now = time.monotonic()
        rows: list[GenerationRow] = []
        chunks: list[ChunkRow] = []
        calls: list[Call] = []
        batch: list[Desk] = []
        for desk in desks:
            desk.read()
            writing = desk.writing
            if writing.has_news and desk.after is State.RUNNING:
                writing.notice = ""
            changed = desk.after is not State.RUNNING or writing.notice != desk.said
            if not (changed or writing.has_news or now - desk.appended >= self._look):
                continue
            row, fresh, words = writing.take(desk.after)
            rows.append(row)
            chunks += fresh
            calls += [
                chunk_call(desk.id, chunk.seq, chunk.channel, chunk.start, chunk.text, count)
                for chunk, count in zip(fresh, words, strict=True)
            ]
            if changed:
                calls.append(state_call(desk.id))
            batch.append(desk)
        if not batch:
            return
        answers = await self._store.append(rows, chunks)
        lost = {row.id for row in rows} - answers.keys()
        self._calls.publish([call for call in calls if call[0] not in map(generation_channel, lost)] if lost else calls)
        for desk, row in zip(batch, rows, strict=True):
            if self.desks.get(desk.id) is desk:
                self._appended(desk, row, answers.get(desk.id), now)

    def _appended(self, desk: Desk, row: GenerationRow, answer: Answer | None, now: float) -> None:
        if answer is None:
            log.warning("lease_lost", generation=str(desk.id), attempt=row.attempt)
            del self.desks[desk.id]
            desk.drop()
            return
        desk.appended, desk.said = now, row.notice
        if row.state != State.RUNNING:
            del self.desks[desk.id]
            desk.drop()
            self._wake_claim.set()
        elif answer.wish and desk.after is State.RUNNING:  # a story that ends in this moment has ended
            if desk.task is not None:
                desk.task.cancel()
            desk.rest(State.PAUSED if answer.wish == Wish.PAUSE else State.STOPPED)
        elif answer.head != desk.writing.head and not desk.rebasing:
            desk.rebasing = True
            task = asyncio.create_task(self._rebase(desk))
            self._aside.add(task)
            task.add_done_callback(self._aside.discard)

    async def _rebase(self, desk: Desk) -> None:
        head = await self._store.head(desk.writing.story)
        if head is not None:
            desk.writing.rebase(head.head, head.text, head.absorbed)
        desk.rebasing = False
