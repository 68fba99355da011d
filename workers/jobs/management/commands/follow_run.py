"""`manage.py follow_run RUN`: runs a training until it ends. The keeper of the GPU worker starts it, in its own process."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from workers.jobs.runs.follow import Follower
from writer.studio.models import Run


class Command(BaseCommand):
    help = "Run one training or stage until it ends, and copy its events into the database."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run", type=int, help="number of the run")

    def handle(self, *_args: Any, run: int, **_options: Any) -> None:
        if not Run.objects.filter(pk=run).exists():
            raise CommandError(f"There is no run {run}.")
        Follower(run).follow()
