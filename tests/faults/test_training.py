"""Runs of the recipes, killed twenty times at random moments: they end as one that was not killed, bit for bit."""

from __future__ import annotations

import io
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from itertools import chain
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.training import models
from tests.training.recipes.runs import NAMES, RECIPES, Name, make_settings, max_difference, metric_by_step
from training.__main__ import main
from training.common.events import read_events
from training.config.recipe import RecipeSettings

KILLS = 20
FURTHER = 2
"""Steps that a run gets before a kill "at any moment", so that it is not over before all kills came, however fast the machine is then."""
Moment = Literal["any", "while a checkpoint is written", "during the reference pass", "while the model is written"]


def command(name: Name, path: Path) -> None:
    """`python -m training NAME PATH` in a process of its own; it is forked from one that has imported torch already."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(io.StringIO()) as said:
        code = main([name, str(path)])
    path.with_suffix(".said").write_text(said.getvalue())
    os._exit(code)


class Killed:
    """A run that is started again and again."""

    def __init__(self, name: Name, settings: RecipeSettings, seed: int, seconds: float) -> None:
        """`seconds` are what the steps of an uninterrupted run take: a kill "at any moment" comes after its share of them at most."""
        self.longest = 0.5 + seconds / KILLS
        self.name, self.settings, self.run = name, settings, settings.run_dir
        self.path = settings.run_dir.with_suffix(".json")
        self.path.write_text(settings.model_dump_json())
        self.chance = random.Random(seed)
        self.found: list[tuple[Moment, str]] = []
        """Of each kill: when it was meant to come, and what it left half done."""

    def start(self) -> BaseProcess:
        process = multiprocessing.get_context("forkserver").Process(target=command, args=(self.name, self.path))
        process.start()
        return process

    def go(self, moment: Moment) -> None:
        """Start the run and kill it at `moment`. A run that ends before is an error of this test."""
        before = self._events()
        process = self.start()
        try:
            self._wait(process, lambda: self._events() > before)
            match moment:
                case "any":
                    saved, end = self._saved(), time.monotonic() + self.chance.uniform(0, self.longest)
                    while time.monotonic() < end and self._saved() < saved + FURTHER:
                        time.sleep(0.002)
                case "while a checkpoint is written":
                    this = self._saved() + self.chance.randint(1, 3)
                    self._wait(process, (self.run / f"checkpoints/.writing-{this}").exists)
                    time.sleep(self.chance.uniform(0, 0.02))
                case "during the reference pass":
                    self._wait(process, lambda: self._told_of("model", since=before))
                    time.sleep(self.chance.uniform(0, 0.1))
                case "while the model is written":
                    self._wait(process, lambda: bool(self._left(".model-writing")))
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL, f"{moment}: ended before it was killed"
        finally:
            process.kill()
            process.join()
            process.close()
        half_done = self._left("checkpoints/.writing-*") or self._left(".model-writing") or self._left("*.writing")
        self.found.append((moment, half_done))

    def to_the_end(self) -> None:
        process = self.start()
        process.join(120)
        assert process.exitcode == 0, self.path.with_suffix(".said").read_text()
        process.close()

    def _wait(self, process: BaseProcess, what: Callable[[], bool]) -> None:
        while not what():
            assert process.is_alive(), f"{self.found}: ended before its moment"
            time.sleep(0.0005)

    def _saved(self) -> int:
        return max((int(path.name[5:]) for path in self.run.glob("checkpoints/step-*")), default=0)

    def _events(self) -> int:
        path = self.run / "events.jsonl"
        return path.stat().st_size if path.exists() else 0

    def _told_of(self, phase: str, since: int) -> bool:
        with (self.run / "events.jsonl").open("rb") as file:
            file.seek(since)
            return f'"name":"{phase}"'.encode() in file.read()

    def _left(self, pattern: str) -> str:
        return next((path.name for path in self.run.glob(pattern)), "")


def moments(name: Name, chance: random.Random) -> Iterator[Moment]:
    """Of the kills of a run; the last of them while its result is written."""
    first: list[Moment] = ["during the reference pass"] * 4 if name == "dpo" else []
    writing: list[Moment] = ["while a checkpoint is written"] * 6
    last: list[Moment] = ["while the model is written"] * 2
    rest: list[Moment] = ["any"] * (KILLS - len(first) - len(writing) - len(last))
    middle = writing + rest
    chance.shuffle(middle)
    return chain(first, middle, last)


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_twenty_kills_change_nothing(name: Name, tmp_path: Path) -> None:
    """At random moments, while a checkpoint or the model is written, and during dpo's reference pass."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(
        ["tests.training.recipes.runs", "training.__main__"]
    )
    shape = {"hidden_size": 64, "intermediate_size": 1000}  # a checkpoint that takes its time
    if name == "dpo":
        models.preferences(tmp_path / "dpo.jsonl", 120)
        models.preferences(tmp_path / "dpo-held-out.jsonl", 6, seed=1)
    changes: dict[str, Any] = {"shape": shape, "steps": 50, "checkpoint_every": 1, "evaluate_every": 7}
    whole = make_settings(name, tmp_path, "whole", **changes)
    killed = make_settings(name, tmp_path, "killed", **changes)
    model = RECIPES[name](whole)
    assert model

    times = [event.time for event in read_events(whole.run_dir / "events.jsonl") if event.kind == "metrics"]
    run = Killed(name, killed, seed=NAMES.index(name), seconds=times[-1] - times[0])
    for moment in moments(name, run.chance):
        run.go(moment)
    run.to_the_end()

    assert len(run.found) == KILLS
    half_done = {left.split("-")[0] for _, left in run.found}
    assert ".writing" in half_done, run.found
    assert metric_by_step(killed.run_dir) == metric_by_step(whole.run_dir)
    assert metric_by_step(killed.run_dir, "grad_norm") == metric_by_step(whole.run_dir, "grad_norm")
    assert metric_by_step(killed.run_dir, "held_out_loss") == metric_by_step(whole.run_dir, "held_out_loss")
    assert max_difference(model, killed.run_dir / "model") == 0
    events = read_events(killed.run_dir / "events.jsonl")
    assert not [event for event in events if event.kind == "log" and "damaged" in event.text]
    assert sum(event.kind == "resumed" for event in events) >= KILLS / 4
    assert not list(killed.run_dir.rglob(".*writing*"))
