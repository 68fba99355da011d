"""Starts the keepers of jobs and of model servers in each Celery worker on the studio's queue."""

from __future__ import annotations

from typing import Any

from celery.signals import worker_ready, worker_shutting_down

from workers import periodic
from workers.jobs.keeper import Keeper
from workers.serving.keeper import ServingKeeper
from writer.studio.wake import QUEUE


@worker_ready.connect
def _start(sender: Any, **_: Any) -> None:
    if QUEUE in sender.app.amqp.queues.consume_from:
        periodic.start(Keeper(), ServingKeeper())


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    periodic.stop_all()
