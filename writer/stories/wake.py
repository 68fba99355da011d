"""The wake-up calls that travel through Redis: names of channels, and nothing that anybody depends on.

A lost call costs a second, never a word: readers compare sequence numbers with PostgreSQL, narrators look by themselves.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from uuid import UUID

import redis
from django.conf import settings
from django.db import connection


def _prefix() -> str:
    return str(connection.settings_dict["NAME"])


def generation_channel(generation_id: UUID | str) -> str:
    """Where the narrator of one generation publishes its chunks and its changes of state."""
    return f"{_prefix()}:generation:{generation_id}"


def narrators_channel() -> str:
    """Where narrators hear that a generation was queued, or that a writer wishes to pause or stop one."""
    return f"{_prefix()}:narrators"


@cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)


def call_narrators(generation_id: UUID | str) -> None:
    """Call after the commit (`transaction.on_commit`). Without Redis the narrators notice within a second by themselves."""
    with suppress(redis.RedisError):
        _client().publish(narrators_channel(), str(generation_id))


def call_readers(generation_id: UUID | str) -> None:
    """Tell the readers of a generation that its row changed; they read it again."""
    with suppress(redis.RedisError):
        _client().publish(generation_channel(generation_id), b"state")
