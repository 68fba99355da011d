"""A run of a stage that makes data: its folder, its events, clean stops, and its data set.

    settings.json   the settings, without keys
    events.jsonl    the run's events (`training.common.records`)
    calls.jsonl     the questions to a teacher, with their answers
    dataset/        train.jsonl, held_out.jsonl, rejected.jsonl, report.json, README.md: written atomically at the end

A stage is a function of its input and of the teacher's answers, so that it needs no checkpoints: started again after a kill, it asks only the
questions that have no answer, and makes the same files.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from training.common.errors import AskedToStop, disk_errors_explained
from training.common.events import EventLog
from training.common.redaction import redact
from training.common.run_lock import run_lock
from training.config.places import check_places
from training.config.settings import Settings
from training.teacher.client import Teacher, each

Item = TypeVar("Item")
Done = TypeVar("Done")

EVERY = 5.0
"""Seconds between metrics."""


class Stage:
    """A run of a stage, in its folder."""

    def __init__(self, folder: Path, log: EventLog) -> None:
        self.folder, self.log = folder, log
        self.done, self._of, self._logged_at = 0, 0, time.monotonic()

    async def each(
        self, items: Sequence[Item], work: Callable[[Item], Awaitable[Done]], teacher: Teacher
    ) -> list[Done]:
        """Run `work` on each item, with enough concurrency to keep the teacher busy, and log metrics. Returns the results in the items' order."""
        self._of += len(items)

        async def counted(item: Item) -> Done:
            done = await work(item)
            self.done += 1
            if time.monotonic() - self._logged_at > EVERY:
                self._log_metrics(teacher)
            return done

        found = await each(items, counted, teacher.settings.at_once * 5 // 4 + 1)  # some have no question in flight
        self._log_metrics(teacher)
        return found

    def _log_metrics(self, teacher: Teacher) -> None:
        self._logged_at = time.monotonic()
        self.log.metrics(self.done, of=self._of, **teacher.metrics())

    @property
    def calls(self) -> Path:
        return self.folder / "calls.jsonl"

    def write(self, files: Mapping[str, Iterable[Mapping[str, Any]]], report: Mapping[str, Any], card: str) -> Path:
        """Write the data set: JSON Lines files by name, the report and the card. An earlier data set is replaced. Returns its folder."""
        final, fresh, old = (self.folder / name for name in ("dataset", "dataset.writing", "dataset.old"))
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh.mkdir()
        for name, lines in files.items():
            with (fresh / f"{name}.jsonl").open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (fresh / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8")
        (fresh / "README.md").write_text(card, "utf-8")
        if final.exists():
            final.rename(old)
        fresh.rename(final)
        shutil.rmtree(old, ignore_errors=True)
        return final


@contextmanager
def stage(settings: Settings, run_dir: Path) -> Iterator[Stage]:
    """Open the folder of a run of a stage, locked, and log how the run ends."""
    check_places(settings, run_dir)
    with disk_errors_explained(run_dir), run_lock(run_dir):
        (run_dir / "settings.json").write_text(redact(settings.model_dump_json(indent=2)) + "\n", "utf-8")
        log = EventLog(run_dir / "events.jsonl")
        running = Stage(run_dir, log)
        try:
            yield running
        except AskedToStop:
            log.ended("stopped", running.done)
            raise
        except Exception as error:
            log.ended("failed", reason=str(error))
            raise
        log.ended("done", running.done)


def run_until_stopped(work: Callable[[], Awaitable[Path]]) -> Path:
    """Run `work` with asyncio.run. On SIGTERM it is cancelled, and AskedToStop is raised."""

    async def main() -> Path:
        task = asyncio.ensure_future(work())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            raise AskedToStop from None

    return asyncio.run(main())
