"""`manage.py follow_run RUN`: runs a training until it ends. The keeper of the GPU worker starts it, in its own process; with `--node` on the
machines that take part in a run without leading it."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from workers.jobs.runs.follow import Follower
from workers.jobs.runs.node import Node
from writer.studio.models import Run


class Command(BaseCommand):
    help = "Run one training or stage until it ends, and copy its events into the database."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run", type=int, help="number of the run")
        parser.add_argument("--node", action="store_true", help="take part in a run that another machine leads")

    def handle(self, *_args: Any, run: int, node: bool = False, **_options: Any) -> None:
        if not Run.objects.filter(pk=run).exists():
            raise CommandError(f"There is no run {run}.")
        if node:
            Node(run).take_part()
        else:
            Follower(run).follow()
