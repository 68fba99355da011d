"""The end of a run in the database: its state, its GPUs free, and the version that it made."""

from __future__ import annotations

from pathlib import Path

from django.db import transaction
from django.utils import timezone

from training.manifest import make_manifest, sha256_of
from workers.jobs.runs.folders import forget, size
from writer.stories.models import ModelVersion
from writer.studio.models import ENDED, Gpu, Run, RunState
from writer.studio.operations.ask_evaluation import evaluate_new


def end(run: Run, attempt: int, state: str, problem: str) -> bool:
    """False: the run is not ours any more. Its processes must be gone, since its GPUs are free from here on."""
    with transaction.atomic():
        found = Run.objects.select_for_update().filter(pk=run.pk, attempt=attempt, state=RunState.RUNNING).first()
        if found is None:
            return False
        _rest(found, state, problem)
    return True


def register(run: Run, attempt: int, folder: Path) -> ModelVersion | None:
    """Make the run's model a version, whose evaluation then waits for its turn. Done again it answers with the same version."""
    manifest = make_manifest(folder, ["model", "adapter"])
    with transaction.atomic():
        found = Run.objects.select_for_update().filter(pk=run.pk, attempt=attempt, state=RunState.RUNNING).first()
        if found is None:
            return None
        version = ModelVersion.objects.create(
            name=_name(found),
            served_name=f"longhand-run-{found.pk}",
            tokenizer=str(folder / "model"),
            parent=found.base,
            folder=f"runs/{found.pk}",
            manifest=manifest,
            sha256=sha256_of(manifest),
            writes=found.recipe != "reward_model",
        )
        found.version = version
        _rest(found, RunState.DONE, "")
        if version.writes:
            evaluate_new(version)
    for gone in ("checkpoints", "data"):
        forget(folder / gone)
    Run.objects.filter(pk=run.pk).update(disk=size(folder))
    return version


def _name(run: Run) -> str:
    return f"{run.base.root.name}, {run.recipe.replace('_', ' ')} {run.pk}"


def _rest(run: Run, state: str, problem: str) -> None:
    run.state, run.problem, run.lease_until, run.wish = state, problem[:1000], None, ""
    if state in ENDED:
        run.finished = timezone.now()
    run.save(update_fields=["state", "problem", "lease_until", "wish", "finished", "version"])
    Gpu.objects.filter(run=run).update(run=None)
