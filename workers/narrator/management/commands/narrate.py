"""`manage.py narrate`: write stories until asked to stop (SIGTERM or Ctrl-C)."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
from typing import Any

import structlog
import uvloop
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from workers.narrator.calls import Calls
from workers.narrator.narrator import Narrator
from workers.narrator.store import Store
from workers.narrator.upstream import ModelServer

log = structlog.get_logger()


class Command(BaseCommand):
    help = "Write stories: claim what is queued, stream it from the model server, append it to the log."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002
        if not settings.MODEL_SERVER_URL:
            raise CommandError("MODEL_SERVER_URL is not set. `manage.py up` starts a model server and sets it.")
        uvloop.run(self._run())

    async def _run(self) -> None:
        parameters = connection.get_connection_params()
        for name in ("cursor_factory", "context"):  # Django's own, for its own cursors
            parameters.pop(name, None)
        holder = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
        narrator = Narrator(
            Store(parameters, holder=holder, lease=settings.LEASE_SECONDS, streams=settings.STREAMS),
            ModelServer(settings.MODEL_SERVER_URL, settings.MODEL_SERVER_KEY),
            Calls(settings.REDIS_URL),
            context=settings.MODEL_CONTEXT,
            thinking=settings.MODEL_THINKING,
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, narrator.stop)
        log.info("narrating", holder=holder, streams=settings.STREAMS)
        await narrator.run()
        log.info("stopped")
