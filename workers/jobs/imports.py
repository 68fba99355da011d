"""Weights that somebody brought: checked, copied where only we write, hashed, and then a version. And retired ones: deleted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import structlog
from django.db import transaction

from training.errors import MendableError
from training.manifest import make_manifest, only_weights, sha256_of
from workers.jobs.runs.folders import forget, private, studio
from writer.stories.models import ModelVersion
from writer.studio.models import Run, VersionImport
from writer.studio.operations.import_version import incoming

log = structlog.get_logger()


def take_in() -> None:
    """Every folder that waits, if it lies on this machine."""
    for asked in VersionImport.objects.filter(version=None, problem=""):
        folder = incoming() / asked.folder
        if not folder.is_dir() or folder.is_symlink():
            VersionImport.objects.filter(pk=asked.pk).update(
                problem=f"There is no folder {asked.folder} in {incoming()}."
            )
            continue
        try:
            _take(asked, folder)
        except (MendableError, OSError) as error:
            VersionImport.objects.filter(pk=asked.pk, version=None).update(problem=str(error)[:1000])
            log.warning("import_refused", name=asked.name, problem=str(error))


def _take(asked: VersionImport, folder: Path) -> None:
    """Checked before it is copied, so that nothing odd is, and after, since the folder was not ours alone."""
    only_weights(folder)
    target = private(studio() / "imports") / str(asked.pk)
    forget(target)
    shutil.copytree(folder, target / "model", symlinks=True, ignore=shutil.ignore_patterns(".git*"))
    only_weights(target / "model")
    template = _chat_template(target / "model")
    if template is None:
        raise MendableError("Its tokenizer has no chat template, so it cannot be asked for a story.")
    known = {_chat_template(path) for path in _known_folders()}
    if template not in known:
        raise MendableError(
            "Its chat template is not one that the house knows. Templates are programs: put the model beside one of "
            "the house's own with the same template, or serve it as the house's own model first."
        )
    manifest = make_manifest(target, ["model"])
    with transaction.atomic():
        found = VersionImport.objects.select_for_update().get(pk=asked.pk)
        if found.version_id is not None:
            return
        found.version = ModelVersion.objects.create(
            name=found.name,
            served_name=f"longhand-import-{found.pk}",
            tokenizer=str(target / "model"),
            folder=f"imports/{found.pk}",
            manifest=manifest,
            sha256=sha256_of(manifest),
        )
        found.save(update_fields=["version"])
    log.info("imported", name=asked.name)


def _known_folders() -> list[Path]:
    return [Path(path) for path in ModelVersion.objects.values_list("tokenizer", flat=True) if Path(path).is_dir()]


def _chat_template(folder: Path) -> str | None:
    """As transformers finds it: a file of its own, or a part of the tokenizer's configuration."""
    alone = folder / "chat_template.jinja"
    if alone.is_file():
        return alone.read_text(encoding="utf-8")
    try:
        found = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
    except (OSError, ValueError):
        return None
    return found if isinstance(found, str) else None


def clear_retired() -> None:
    """Delete the weights of retired versions, where they are still there."""
    for version in ModelVersion.objects.exclude(retired=None).exclude(folder="").exclude(sha256=""):
        folder = studio() / version.folder
        for part in ("model", "adapter"):
            if (folder / part).exists():
                forget(folder / part)
                log.info("weights_deleted", version=version.name, part=part)


def clear_old_runs(days: int = 14) -> None:
    """Checkpoints and data of runs that ended long ago without a version: they hold writers' words, and take room."""
    from datetime import timedelta

    from django.utils import timezone

    from workers.jobs.runs.folders import run_folder

    before = timezone.now() - timedelta(days=days)
    for run in Run.objects.filter(state__in=("stopped", "failed"), finished__lt=before, forgotten=False):
        Run.objects.filter(pk=run.pk, state=run.state).update(forgotten=True)
        for part in ("checkpoints", "data"):
            forget(run_folder(run) / part)
