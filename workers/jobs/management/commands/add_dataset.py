"""`manage.py add_dataset NAME FOLDER`: adds the output of `python -m training corpus`, or other training data, to the studio."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training.common.errors import MendableError
from workers.jobs.datasets import add_dataset
from writer.refusals import Refused


class Command(BaseCommand):
    help = "Copy training data (train.jsonl and held_out.jsonl, plain or gzipped) into the studio, for use in runs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the name shown in the studio")
        parser.add_argument("folder", type=Path)

    def handle(self, *_args: Any, name: str, folder: Path, **_options: Any) -> None:
        try:
            made = add_dataset(name, folder)
        except (Refused, MendableError) as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"The data cannot be copied: {error.strerror or error}.") from None
        self.stdout.write(
            f"{made.name}: {made.rows:,} rows of {made.get_kind_display().lower()}, {made.words:,} words."
        )
