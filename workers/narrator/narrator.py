"""The process that writes stories: hundreds at once, one asyncio task each, one append for all of them per tick.

A tick resumes reading of every answer, lets the event loop read what the sockets have buffered, processes the text,
appends it in one statement, and publishes it to the readers. Its interval depends on its own work: from a fifth to a third
of a second. The append returns the wishes and saves of the writer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import structlog

from workers.narrator.calls import Call, Calls, chunk_call, state_call
from workers.narrator.prompt import Prompter
from workers.narrator.session import TRIES, Session
from workers.narrator.store import Answer, ChunkRow, GenerationRow, Store
from workers.narrator.upstream import Away, ModelServer
from writer.stories.models import State, Wish
from writer.stories.wake import generation_channel

log = structlog.get_logger()

_TICK_MIN, _TICK_MAX = 0.2, 0.35
_TICK_TIMES_WORK, _TICK_PER_STORY = 6.0, 0.006
"""Seconds. The interval is six times the processor time of a tick, and long enough that all stories together send no more than
about 170 chunks a second, for up to sixty stories: each chunk is also work for PostgreSQL, the web server and a browser."""
_CLAIM_AT_ONCE = 16
_CHECK_SECONDS = 1.0
"""Interval of the checks of the rows when there are no calls and no text."""

CRASHED = "Writing this story broke off five times in a row. Continue tries again."


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel the tasks until they have ended. Once is not enough: redis mistakes a cancellation while it connects for a lost connection."""
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=0.1)


class Narrator:
    def __init__(
        self, store: Store, server: ModelServer, calls: Calls, *, context: int = 0, thinking: bool = False
    ) -> None:
        self.sessions: dict[UUID, Session] = {}
        self._store, self._calls = store, calls
        self._servers = {"": server}
        self._context, self._thinking = context, thinking
        self._prompters: dict[tuple[str, bool], asyncio.Task[Prompter]] = {}
        self._urgent: dict[UUID, Session] = {}
        self._wake_tick, self._wake_claim = asyncio.Event(), asyncio.Event()
        self._stopping = asyncio.Event()
        self._check_seconds = min(_CHECK_SECONDS, store.lease / 4)
        self._rebasing: set[asyncio.Task[None]] = set()

    # Start and stop

    async def run(self) -> None:
        """Write until `stop` is called. A bug ends the process; others then take the stories when the leases expire."""
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
        for session in self.sessions.values():
            session.drop()
        await self._store.close()
        await self._calls.close()

    def stop(self) -> None:
        """Append the pending text, release the stories, and end."""
        self._stopping.set()

    def _called(self, about: str) -> None:
        """Handle a call: a generation was queued, or a writer has a wish for one."""
        self._wake_claim.set()
        try:
            session = self.sessions.get(UUID(about))
        except ValueError:
            return
        if session is not None:
            session.appended = 0.0
            self._hurry(session)

    def _hurry(self, session: Session) -> None:
        self._urgent[session.id] = session
        self._wake_tick.set()

    # Claiming

    async def _claims(self) -> None:
        while True:
            claimed = await self._store.claim(most=_CLAIM_AT_ONCE)
            if claimed:
                for loaded in await self._store.load(claimed):
                    self._start(loaded)
            if len(claimed) < _CLAIM_AT_ONCE:
                try:
                    async with asyncio.timeout(self._check_seconds):
                        await self._wake_claim.wait()
                except TimeoutError:
                    pass
                self._wake_claim.clear()

    def _start(self, loaded: Any) -> None:
        if (old := self.sessions.pop(loaded.id, None)) is not None:
            old.drop()  # our own lease expired: the text not yet appended is sampled again
        session = self.sessions[loaded.id] = Session(
            loaded,
            server=self._server,
            prompter=self._prompter,
            hurry=self._hurry,
            context=self._context,
            thinking=self._thinking,
        )
        session.appended = time.monotonic()
        log.info("taken_up", story=str(loaded.story_id), generation=str(loaded.id), attempt=loaded.attempt)
        if loaded.wish:
            session.rest(State.PAUSED if loaded.wish == Wish.PAUSE else State.STOPPED)
        elif loaded.failures >= TRIES:
            session.rest(State.FAILED, CRASHED)
        else:
            session.task = asyncio.create_task(session.write())
            session.task.add_done_callback(self._task_done)
        self._calls.publish([state_call(session.id)])

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            # A bug in one story: it is tried again when the lease of its row expires.
            for session in [session for session in self.sessions.values() if session.task is task]:
                del self.sessions[session.id]
            log.error("story_broke_off", exc_info=error)

    async def _server(self, version: int) -> ModelServer:
        """The server that serves this version now. Raises Away while it is being loaded."""
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
                await self._tick(list(self.sessions.values()))
                work += 0.2 * (time.thread_time() - spent - work)
                tick = max(_TICK_MIN, _TICK_TIMES_WORK * work, _TICK_PER_STORY * len(self.sessions))
                next_tick = now + min(tick, _TICK_MAX)
            elif self._urgent:
                urgent, self._urgent = self._urgent, {}
                await self._tick([session for session in urgent.values() if self.sessions.get(session.id) is session])
            self._wake_tick.clear()
            if not self._urgent and not self._stopping.is_set():
                try:
                    async with asyncio.timeout_at(asyncio.get_running_loop().time() + next_tick - time.monotonic()):
                        await self._wake_tick.wait()
                except TimeoutError:
                    pass
        await self._tick(list(self.sessions.values()))
        await self._store.release(session.writing.take()[0] for session in self.sessions.values())

    async def _tick(self, sessions: Iterable[Session]) -> None:
        """Read, append and publish once for all of `sessions`."""
        sessions = list(sessions)
        for session in sessions:
            session.resume()
        await asyncio.sleep(0)  # the loop reads the sockets...
        await asyncio.sleep(0)  # ...before it comes back here (asyncio's own loop needs a second turn)
        now = time.monotonic()
        rows: list[GenerationRow] = []
        chunks: list[ChunkRow] = []
        calls: list[Call] = []
        batch: list[Session] = []
        for session in sessions:
            session.read()
            writing = session.writing
            if writing.has_news and session.after is State.RUNNING:
                writing.notice = ""
            changed = session.after is not State.RUNNING or writing.notice != session.said
            if not (changed or writing.has_news or now - session.appended >= self._check_seconds):
                continue
            row, fresh, words = writing.take(session.after)
            rows.append(row)
            chunks += fresh
            calls += [
                chunk_call(session.id, chunk.seq, chunk.channel, chunk.start, chunk.text, count)
                for chunk, count in zip(fresh, words, strict=True)
            ]
            if changed:
                calls.append(state_call(session.id))
            batch.append(session)
        if not batch:
            return
        answers = await self._store.append(rows, chunks)
        lost = {row.id for row in rows} - answers.keys()
        self._calls.publish([call for call in calls if call[0] not in map(generation_channel, lost)] if lost else calls)
        for session, row in zip(batch, rows, strict=True):
            if self.sessions.get(session.id) is session:
                self._appended(session, row, answers.get(session.id), now)

    def _appended(self, session: Session, row: GenerationRow, answer: Answer | None, now: float) -> None:
        if answer is None:
            log.warning("lease_lost", generation=str(session.id), attempt=row.attempt)
            del self.sessions[session.id]
            session.drop()
            return
        session.appended, session.said = now, row.notice
        if row.state != State.RUNNING:
            del self.sessions[session.id]
            session.drop()
            self._wake_claim.set()
        elif answer.wish and session.after is State.RUNNING:  # a story that has just ended stays ended
            if session.task is not None:
                session.task.cancel()
            session.rest(State.PAUSED if answer.wish == Wish.PAUSE else State.STOPPED)
        elif answer.head != session.writing.head and not session.rebasing:
            session.rebasing = True
            task = asyncio.create_task(self._rebase(session))
            self._rebasing.add(task)
            task.add_done_callback(self._rebasing.discard)

    async def _rebase(self, session: Session) -> None:
        head = await self._store.head(session.writing.story)
        if head is not None:
            session.writing.rebase(head.head, head.text, head.absorbed)
        session.rebasing = False
