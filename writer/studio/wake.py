"""The studio's wake-up call through Redis. Nothing depends on it: the keepers look into PostgreSQL every few seconds by themselves."""

from __future__ import annotations

from contextlib import suppress

import redis
from celery import current_app
from kombu.exceptions import OperationalError

TASK = "workers.jobs.tasks.look_after_studio"
QUEUE = "gpu"


def call_keepers() -> None:
    """Tell the GPU workers that there is something to do. Call after the commit."""
    with suppress(OperationalError, redis.RedisError):
        current_app.send_task(TASK, queue=QUEUE, retry=False)
