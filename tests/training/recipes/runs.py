"""Small runs of each recipe, as settings and as commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from safetensors.torch import load_file

from tests.training import models
from tests.training.conftest import ROOT
from training.common.events import read_events
from training.common.records import Metrics
from training.config.recipe import RecipeSettings
from training.recipes.dpo.loop import dpo
from training.recipes.pretrain.loop import pretrain
from training.recipes.registry import RECIPES as SETTINGS
from training.recipes.reward_model.loop import reward_model
from training.recipes.sft.loop import sft
from workers.processes import processes_of, tag

Name = Literal["pretrain", "sft", "reward_model", "dpo", "grpo"]
NAMES: tuple[Name, ...] = ("pretrain", "sft", "reward_model", "dpo")
RECIPES: dict[Name, Callable[[Any], Path | None]] = {
    "pretrain": pretrain,
    "sft": sft,
    "reward_model": reward_model,
    "dpo": dpo,
}


def make_settings(
    name: Name,
    folder: Path,
    run: str = "run",
    kind: models.Kind = "qwen3",
    shape: dict[str, Any] | None = None,
    **changes: Any,
) -> Any:
    """Settings of a run that takes a few seconds. Makes the data and the model if they do not exist yet."""
    model, data, held_out = folder / f"model-{kind}", folder / f"{name}.jsonl", folder / f"{name}-held-out.jsonl"
    if not model.exists():
        models.save(models.random_model(kind, **(shape or {})), model)
    if not data.exists():
        make = {"pretrain": models.texts, "sft": models.conversations, "grpo": models.conversations}.get(
            name, models.preferences
        )
        make(data)
        make(held_out, 6, seed=1)
    learner = {
        "precision": "float32", "learning_rate": 1e-3, "tokens_per_micro_batch": 500, "threads": 1
    } | changes.pop("learner", {})  # fmt: skip
    values: dict[str, Any] = {
        "run_dir": folder / run, "model": model, "data": (data,), "held_out": (held_out,), "learner": learner,
        "context": 1024, "steps": 12, "checkpoint_every": 4, "evaluate_every": 6,
    }  # fmt: skip
    values |= {"batch_tokens": 1500, "context": 300} if name == "pretrain" else {"batch": 6}
    return SETTINGS[name].settings.model_validate(values | changes)


def command(name: Name, settings: RecipeSettings, *, processes: int = 0) -> tuple[list[str], dict[str, str]]:
    """The command of a run, and its environment; with `processes`, it uses torchrun."""
    path = settings.run_dir.with_suffix(".json")
    path.write_text(settings.model_dump_json())
    start = [sys.executable, "-m"]
    if processes:
        start += ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"]
    scripts = str(Path(sys.executable).parent)
    environment = (
        os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{scripts}:{os.environ['PATH']}"} | tag(settings.run_dir)
    )
    return [*start, "training", name, str(path)], environment


def run_until(
    name: Name, settings: RecipeSettings, step: int, what: signal.Signals = signal.SIGKILL, *, processes: int = 0
) -> int:
    """Start a run as a command, send its processes a signal once it has printed a step, and wait for its end. Returns the exit status."""
    arguments, environment = command(name, settings, processes=processes)
    process = subprocess.Popen(
        arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout
    try:
        for line in process.stdout:
            if line.startswith(f"step {step}:"):
                _send(settings.run_dir, what)
                break
        process.stdout.read()
        return process.wait(60)
    finally:
        _send(settings.run_dir, signal.SIGKILL)
        process.stdout.close()


def _send(run: Path, what: signal.Signals) -> None:
    """Send a signal to all processes of a run, the parent first; torchrun gives its workers process groups of their own."""
    for one in processes_of(run):
        with suppress(psutil.NoSuchProcess):
            one.send_signal(what)


def metric_by_step(run: Path, measure: str = "loss") -> dict[int, float]:
    """The values of a metric by step. Where a step was repeated, the later value counts."""
    return {
        event.step: event.values[measure]
        for event in read_events(run / "events.jsonl")
        if isinstance(event, Metrics) and measure in event.values
    }


def weights(model: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in sorted(model.glob("*.safetensors")):
        found |= load_file(path)
    return found


def max_difference(one: Path, other: Path) -> float:
    """The largest difference between two models' weights."""
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    return max((first[name].float() - second[name].float()).abs().max().item() for name in first)
