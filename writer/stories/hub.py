"""The readers of one web process. They share one connection to Redis, and one query of PostgreSQL at each heartbeat.

A chunk from Redis is passed on to the readers of its generation unchanged. Nothing depends on Redis: every heartbeat reads
the rows of all watched generations and finds lost chunks. `docs/protocol.md` defines the protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

import msgspec
import structlog
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import Error as DatabaseError
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from writer.stories.log import parse_call
from writer.stories.model_server import model_not_known_away, model_ready
from writer.stories.models import Generation, State
from writer.stories.reading import log_text
from writer.stories.text import sha256
from writer.stories.wake import generation_channel

HEARTBEAT = 5.0
GRACE = 0.1
"""Seconds after which a committed chunk that has not arrived through Redis counts as lost."""
SUBSCRIBED_WITHIN = 0.5

log = structlog.get_logger()
encode = msgspec.json.Encoder().encode
P = ParamSpec("P")
T = TypeVar("T")

_threads = ThreadPoolExecutor(4, thread_name_prefix="readers")


async def in_database(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run in a separate pool of a few threads, so that readers and pages do not wait for each other."""
    run = database_sync_to_async(work, thread_sensitive=False, executor=_threads)
    result: T = await run(*args, **kwargs)
    return result


class Row(NamedTuple):
    """The state of a generation, as readers get it."""

    state: str
    wish: str
    ending: str
    notice: str
    place: int
    words: int
    target: int
    last_seq: int
    attempt: int
    revision: str
    model_ready: bool

    @property
    def resting(self) -> bool:
        return self.state not in (State.QUEUED, State.RUNNING)

    @property
    def news(self) -> tuple[object, ...]:
        """The fields whose changes are sent as a message. The others are sent with the chunks."""
        return (
            self.state,
            self.wish,
            self.ending,
            self.notice,
            self.place,
            self.target,
            self.revision,
            self.model_ready,
        )

    @property
    def rest(self) -> tuple[object, ...]:
        """Distinguishes the ends of a generation that was continued."""
        return (self.state, self.last_seq, self.attempt)

    def message(self) -> str:
        fields = {name: value for name, value in self._asdict().items() if name != "attempt"}
        return encode({"type": "state", **fields}).decode()


def read_rows(ids: list[UUID], *, beat: bool) -> dict[UUID, Row]:
    ready = model_ready() if beat else model_not_known_away()
    fields = (
        "pk",
        "state",
        "wish",
        "ending",
        "notice",
        "words",
        "target_words",
        "last_seq",
        "attempt",
        "story__head_id",
    )
    found = list(Generation.objects.filter(pk__in=ids).values_list(*fields))
    places: dict[UUID, int] = {}
    if any(values[1] == State.QUEUED for values in found):
        queue = Generation.objects.filter(state=State.QUEUED).order_by("created").values_list("pk", flat=True)
        places = {pk: place for place, pk in enumerate(queue, start=1)}
    return {
        pk: Row(state, wish, ending, notice, places.get(pk, 0), words, target, last_seq, attempt, str(head), ready)
        for pk, state, wish, ending, notice, words, target, last_seq, attempt, head in found
    }


def read_end(generation_id: UUID) -> str | None:
    """The `end` message of a generation, with the hash of its log."""
    generation = Generation.objects.filter(pk=generation_id).first()
    if generation is None:
        return None
    story = log_text(generation)
    end = {
        "type": "end",
        "state": generation.state,
        "ending": generation.ending,
        "last_seq": generation.last_seq,
        "chars": len(story),
        "sha256": sha256(story),
        "words": generation.words,
    }
    return encode(end).decode()


class Listener(Protocol):
    """The interface of a reader for the hub. Its methods must not block."""

    def offer(self, seq: int, message: str) -> None: ...
    def look(self, *, beat: bool = False) -> None: ...
    def doubt(self) -> None: ...


class Watch:
    """A generation with readers."""

    def __init__(self, generation_id: UUID) -> None:
        self.generation_id = generation_id
        self.channel = generation_channel(generation_id).encode()
        self.readers: set[Listener] = set()
        self.row: Row | None = None
        self.gone = False
        self.subscribed = asyncio.Event()
        self._end: tuple[tuple[object, ...], str] | None = None

    async def end(self, row: Row) -> str | None:
        """The `end` message, read once for all readers."""
        if self._end is None or self._end[0] != row.rest:
            message = await in_database(read_end, self.generation_id)
            if message is None:
                return None
            self._end = (row.rest, message)
        return self._end[1]


class Hub:
    def __init__(self) -> None:
        self.watches: dict[bytes, Watch] = {}
        self._dirty: set[Watch] = set()
        self._news = asyncio.Event()
        self._connection: AbstractConnection | None = None
        self._pool = ConnectionPool.from_url(
            settings.REDIS_URL, protocol=2, retry=Retry(NoBackoff(), 0), socket_connect_timeout=2
        )
        self._tasks = [asyncio.create_task(self._lasting(work)) for work in (self._listen, self._read, self._beat)]
        self._heard_at = 0.0

    async def join(self, generation_id: UUID, reader: Listener) -> Watch:
        """Watch a generation. Chunks committed after this returns are passed on if Redis is available."""
        channel = generation_channel(generation_id).encode()
        watch = self.watches.get(channel)
        if watch is None:
            watch = self.watches[channel] = Watch(generation_id)
            await self._send("SUBSCRIBE", channel)
        watch.readers.add(reader)
        if self._connection is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(watch.subscribed.wait(), SUBSCRIBED_WITHIN)
        self.refresh(watch)
        return watch

    async def leave(self, watch: Watch, reader: Listener) -> None:
        watch.readers.discard(reader)
        if not watch.readers and self.watches.get(watch.channel) is watch:
            del self.watches[watch.channel]
            self._dirty.discard(watch)
            await self._send("UNSUBSCRIBE", watch.channel)
        if not self.watches:
            loop = asyncio.get_running_loop()
            if _hubs.get(loop) is self:
                del _hubs[loop]
            for task in self._tasks:
                task.cancel()

    def refresh(self, *watches: Watch) -> None:
        self._dirty.update(watches)
        self._news.set()

    async def _lasting(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run a task again after an unexpected error, which is logged: all readers depend on it."""
        while True:
            try:
                await work()
            except Exception:
                log.exception("readers_fault")
                await asyncio.sleep(1)

    async def _send(self, *command: str | bytes) -> None:
        if self._connection is not None:
            with suppress(RedisError, OSError):  # the listener notices, and subscribes again
                await self._connection.send_command(*command)

    async def _listen(self) -> None:
        """Listen to Redis, and reconnect when it was away; then compare all generations with PostgreSQL."""
        away = False
        while True:
            connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
            try:
                await connection.connect()
                self._heard_at = asyncio.get_running_loop().time()
                self._connection = connection  # from here on, new readers subscribe themselves
                for channel in list(self.watches):
                    await connection.send_command("SUBSCRIBE", channel)
                if away:
                    log.info("redis_back", readers=sum(len(watch.readers) for watch in self.watches.values()))
                away = False
                while True:
                    self._heard(await connection.read_response())
            except (RedisError, OSError) as error:
                if not away:
                    log.warning("redis_away", error=str(error))
                away = True
            finally:
                self._connection = None
                for watch in self.watches.values():
                    watch.subscribed.clear()
                await connection.disconnect(nowait=True)
            await asyncio.sleep(1)

    def _heard(self, answer: Any) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        kind, channel, data = answer if len(answer) == 3 else (b"", b"", b"")
        watch = self.watches.get(channel)
        if watch is None:
            return
        if kind == b"subscribe":  # earlier calls were not received
            watch.subscribed.set()
            self._doubt(watch)
        elif kind == b"message" and data == b"state":
            self.refresh(watch)
        elif kind == b"message" and (chunk := parse_call(data)) is not None:
            for reader in watch.readers:
                reader.offer(*chunk)

    def _doubt(self, watch: Watch) -> None:
        for reader in watch.readers:
            reader.doubt()
        self.refresh(watch)

    async def _read(self) -> None:
        """Read the changed rows in one query."""
        while True:
            await self._news.wait()
            await asyncio.sleep(0)  # rows requested meanwhile are included
            self._news.clear()
            watches, self._dirty = self._dirty, set()
            if not await self._look(watches, beat=False):
                await asyncio.sleep(1)
                self.refresh(*(watch for watch in watches if watch.readers))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            if self._connection is not None and asyncio.get_running_loop().time() - self._heard_at > 3 * HEARTBEAT:
                await self._connection.disconnect(nowait=True)  # it did not answer the PING
            await self._send("PING")
            await self._look(list(self.watches.values()), beat=True)

    async def _look(self, watches: Iterable[Watch], *, beat: bool) -> bool:
        watches = list(watches)
        try:
            rows = await in_database(read_rows, [watch.generation_id for watch in watches], beat=beat)
        except DatabaseError as error:
            log.warning("postgres_away", error=str(error).strip().split("\n")[0])
            return False
        if beat:
            await asyncio.sleep(GRACE)
        for watch in watches:
            watch.row = rows.get(watch.generation_id)
            watch.gone = watch.row is None
            for reader in watch.readers:
                reader.look(beat=beat)
        return True


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """The hub of this process, which exists while it has readers."""
    loop = asyncio.get_running_loop()
    found = _hubs.get(loop)
    if found is None:
        found = _hubs[loop] = Hub()
    return found


def readers_now() -> int:
    return sum(len(watch.readers) for one in list(_hubs.values()) for watch in list(one.watches.values()))
