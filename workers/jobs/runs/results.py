"""Ends a run in the database: sets its state, frees its GPUs, and registers the version or the data that it made."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone

from training.common.manifest import make_manifest, sha256_of
from training.recipes.registry import RECIPES
from workers.folders import forget, size
from workers.jobs.runs import stages
from workers.lease import held
from writer.stories.models import ModelVersion
from writer.studio.models import ENDED, Gpu, Run, RunState
from writer.studio.operations.ask_evaluation import evaluate_new
from writer.studio.registry import is_stage

CALLS = ("judge.jsonl", "ranges.jsonl", "second-judge.jsonl")
"""The judges' answers in a GRPO run, which only a resumed run needs."""
OF_ROLLOUTS = ("rollouts", *CALLS)
MOST_ROLLOUTS = 8 * 2**20
"""Bytes. A step of 48 stories of 6,000 tokens takes some five million, a run a hundred times that."""


def end(run: Run, attempt: int, state: str, problem: str) -> bool:
    """End the run; returns False if this attempt no longer holds it. Its processes on this machine must be gone: its GPUs become free."""
    with transaction.atomic():
        found = held(run, attempt).select_for_update().first()
        if found is None:
            return False
        _end(found, state, problem)
    return True


def outcome(run: Run, folder: Path) -> Path:
    """The folder that exists when the run has finished its work."""
    return folder / ("dataset" if is_stage(run.recipe) else "model")


def is_finished(run: Run, folder: Path) -> bool:
    """Whether the run has finished its work. The folder is listed, since a network file system remembers for a while that a name was absent."""
    return outcome(run, folder) in folder.iterdir()


def register(run: Run, attempt: int, folder: Path) -> None:
    """Register what the run made, and end it. Idempotent. Raises MendableError if a stage made nothing."""
    left = _register_data(run, attempt, folder) if is_stage(run.recipe) else _register_version(run, attempt, folder)
    for gone in left:
        forget(folder / gone)
    Run.objects.filter(pk=run.pk).update(disk=size(folder))


def _register_data(run: Run, attempt: int, folder: Path) -> tuple[str, ...]:
    """Returns the files that may be deleted. Calls are kept for a replay, unless they contain writers' texts."""
    made, report = stages.keep(run, outcome(run, folder))
    with transaction.atomic():
        found = held(run, attempt).select_for_update().first()
        if found is None:
            return ()
        found.made, found.report = made, report
        _end(found, RunState.DONE, "")
    return ("data", "dataset", "calls.jsonl") if run.snapshot_id else ("data", "dataset")


def _register_version(run: Run, attempt: int, folder: Path) -> tuple[str, ...]:
    """Make the run's model a version, and queue its evaluation. Returns the files that may be deleted."""
    manifest = make_manifest(folder, ["model", "adapter"])
    with transaction.atomic():
        found = held(run, attempt).select_for_update().first()
        if found is None:
            return ()
        version = ModelVersion.objects.create(
            name=_name(found),
            served_name=f"longhand-run-{found.pk}",
            tokenizer=str(folder / "model"),
            parent=found.base,
            folder=f"runs/{found.pk}",
            manifest=manifest,
            sha256=sha256_of(manifest),
            writes=RECIPES[found.recipe].head == "words",
        )
        found.version, found.report = version, _learned(folder)
        _end(found, RunState.DONE, "")
        if version.writes:
            evaluate_new(version)
    _thin(folder / "rollouts")
    return ("checkpoints", "data", *CALLS)


def _thin(rollouts: Path) -> None:
    """Delete a run's stories except those of its last step, which show what the version writes, and of the monitors, up to MOST_ROLLOUTS."""
    steps = sorted(rollouts.glob("step-*.jsonl"), reverse=True)
    others = sorted(set(rollouts.glob("*")) - set(steps), reverse=True)
    left = MOST_ROLLOUTS
    for place in [*steps[:1], *others]:
        left -= place.stat().st_size
        if left < 0:
            forget(place)
    for place in steps[1:]:
        forget(place)


def _learned(folder: Path) -> dict[str, Any] | None:
    """What the model learned about each principle, if the recipe reports it."""
    path = folder / "principles.json"
    return {"learned": json.loads(path.read_text("utf-8"))} if path.exists() else None


def _name(run: Run) -> str:
    assert run.base is not None
    return f"{run.base.root.name}, {run.recipe.replace('_', ' ')} {run.pk}"


def _end(run: Run, state: str, problem: str) -> None:
    run.state, run.problem, run.lease_until, run.wish, run.rendezvous = state, problem[:1000], None, "", None
    if state in ENDED:
        run.finished = timezone.now()
    fields = ["state", "problem", "lease_until", "wish", "rendezvous", "finished", "version", "made", "report"]
    run.save(update_fields=fields)
    gpus = Gpu.objects.filter(run=run)
    if run.nodes > 1:  # the other machines free theirs when their processes have ended
        gpus = gpus.filter(machine__name=socket.gethostname())
    gpus.update(run=None)
