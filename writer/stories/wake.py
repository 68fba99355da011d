"""Wake-up calls through Redis, which are only an optimization.

A lost call costs a second, but no text: readers compare sequence numbers with PostgreSQL, and narrators poll it.
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
    """The channel for the chunks and changes of state of one generation."""
    return f"{_prefix()}:generation:{generation_id}"


def narrators_channel() -> str:
    """The channel that tells narrators of queued generations, and of wishes to pause or stop one."""
    return f"{_prefix()}:narrators"


@cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)


def call_narrators(generation_id: UUID | str) -> None:
    """Call after the commit (`transaction.on_commit`). Without Redis the narrators notice it within a second."""
    with suppress(redis.RedisError):
        _client().publish(narrators_channel(), str(generation_id))


def call_readers(generation_id: UUID | str) -> None:
    """Tell the readers of a generation to read its row again."""
    with suppress(redis.RedisError):
        _client().publish(generation_channel(generation_id), b"state")
