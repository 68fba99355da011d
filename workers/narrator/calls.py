"""Redis: publishes committed text to readers, and wakes the narrator. It is only an optimization: everything works without it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

import redis.asyncio as redis
import structlog
from redis.exceptions import RedisError

from writer.stories.log import ChunkMessage
from writer.stories.wake import generation_channel, narrators_channel

log = structlog.get_logger()

Call = tuple[str, bytes]

_PUBLISH = "for i = 1, #KEYS do redis.call('PUBLISH', KEYS[i], ARGV[i]) end"
"""All calls of a tick in one command, which costs a tenth of a pipeline on both sides."""


def chunk_call(generation: UUID, seq: int, channel: str, start: int, text: str, words: int) -> Call:
    return generation_channel(generation), ChunkMessage(seq, seq, channel, start, text, words).call()


def state_call(generation: UUID) -> Call:
    return generation_channel(generation), b"state"


class Calls:
    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
        self._waiting: asyncio.Queue[list[Call]] = asyncio.Queue(maxsize=20)

    def publish(self, calls: list[Call]) -> None:
        """Queue the calls for sending. If Redis is slow or down they are dropped: readers poll PostgreSQL themselves."""
        if calls and not self._waiting.full():
            self._waiting.put_nowait(calls)

    async def publish_all(self) -> None:
        """Send the queued calls in order, until cancelled."""
        away = False
        while True:
            calls = await self._waiting.get()
            try:
                await self._client.eval(
                    _PUBLISH, len(calls), *(name for name, _ in calls), *(what for _, what in calls)
                )
                away = False
            except (RedisError, OSError) as error:
                if not away:
                    log.warning("redis_away", error=str(error))
                away = True
            finally:
                self._waiting.task_done()

    async def flush(self, seconds: float) -> None:
        """Wait until everything is sent, for at most `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._waiting.join()
        except TimeoutError:
            pass

    async def listen(self, heard: Callable[[str], None]) -> None:
        """Call `heard` with the id of each generation that a call is about, until cancelled."""
        while True:
            try:
                async with self._client.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(narrators_channel())
                    while True:
                        message = await subscription.get_message(timeout=30)
                        if message is not None:
                            heard(message["data"].decode())
            except (RedisError, OSError):
                await asyncio.sleep(1)

    async def close(self) -> None:
        await self._client.aclose()
