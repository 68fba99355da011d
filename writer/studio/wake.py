"""The studio's wake-up call through Redis. It is only an optimization: the keepers poll PostgreSQL every few seconds."""

from __future__ import annotations

from contextlib import suppress

import redis
from celery import current_app
from kombu.exceptions import OperationalError

TASK = "workers.jobs.tasks.look_after_studio"
QUEUE = "gpu"


def call_keepers() -> None:
    """Wake the GPU workers. Call it after the commit."""
    with suppress(OperationalError, redis.RedisError):
        current_app.send_task(TASK, queue=QUEUE, retry=False)
