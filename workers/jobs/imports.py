"""Imports weights from outside the site as versions, after checks, into a folder that only workers write. Deletes retired weights."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import structlog
from django.db import IntegrityError, transaction
from django.utils import timezone

from training.common.errors import MendableError
from training.common.manifest import check_model_files, make_manifest, sha256_of
from training.common.text import storable
from workers.folders import forget, private, run_folder, studio, version_folder
from workers.jobs.runs.results import OF_ROLLOUTS
from writer.stories.models import ModelVersion
from writer.studio.models import Run, VersionImport
from writer.studio.operations.import_version import FOLDER, incoming

log = structlog.get_logger()


def import_waiting() -> None:
    """Import every waiting folder that is on this machine. A row that another worker has locked is skipped."""
    waiting = VersionImport.objects.filter(version=None, problem="")
    for found in waiting.order_by("pk").values_list("pk", flat=True):
        with transaction.atomic():
            asked = waiting.select_for_update(skip_locked=True).filter(pk=found).first()
            if asked is None:
                continue
            target = private(studio() / "imports") / str(asked.pk)
            try:
                with transaction.atomic():
                    asked.version = _import(asked, target)
            except (MendableError, OSError, IntegrityError) as error:
                forget(target)
                asked.version, asked.problem = None, _message(error)
                log.warning("import_refused", name=asked.name, problem=asked.problem)
            asked.save(update_fields=["version", "problem"])


def _import(asked: VersionImport, target: Path) -> ModelVersion:
    """Import a folder as a version. It is checked before it is copied, and again afterwards, since it may change meanwhile."""
    folder = incoming() / asked.folder
    if not FOLDER.fullmatch(asked.folder) or not folder.is_dir() or folder.is_symlink():
        raise MendableError(f"There is no folder {asked.folder} in {incoming()}.")
    check_model_files(folder)
    forget(target)
    shutil.copytree(folder, target / "model", symlinks=True, ignore=shutil.ignore_patterns(".git*"))
    check_model_files(target / "model")
    templates = _chat_templates(target / "model")
    if not templates:
        raise MendableError("Its tokenizer has no chat template, so it cannot write stories.")
    known = [template for path in _known_folders() for template in _chat_templates(path)]
    if any(template not in known for template in templates):
        raise MendableError(
            "Its chat template is unknown to this site, or it has several. Templates are programs: import a model "
            "with the template of a model of this site, or serve it as the site's own model first."
        )
    manifest = make_manifest(target, ["model"])
    version = ModelVersion.objects.create(
        name=asked.name,
        served_name=f"longhand-import-{asked.pk}",
        tokenizer=str(target / "model"),
        folder=f"imports/{asked.pk}",
        manifest=manifest,
        sha256=sha256_of(manifest),
    )
    log.info("imported", name=asked.name)
    return version


def _message(error: Exception) -> str:
    said = str(error)
    if isinstance(error, IntegrityError):
        said = "There is already a version with this name."
    elif isinstance(error, shutil.Error):  # a list of (from, to, why)
        said = f"{error.args[0][0][0]} cannot be copied: {error.args[0][0][2]}."
    elif isinstance(error, OSError):
        said = f"It cannot be copied: {error.strerror or error}."
    return storable(said)[:1000]


def _known_folders() -> list[Path]:
    named = ModelVersion.objects.exclude(tokenizer="").values_list("tokenizer", flat=True)
    return [Path(path) for path in named if Path(path).is_dir()]


def _chat_templates(folder: Path) -> list[object]:
    """All chat templates that transformers or vLLM may load: files, and entries of configurations, which may be lists."""
    alone = [*folder.glob("*.jinja"), *folder.glob("*/*.jinja")]
    found: list[object] = [path.read_text(encoding="utf-8", errors="replace") for path in alone]
    for path in folder.glob("*.json"):
        with suppress(ValueError, RecursionError):
            values = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(values, dict) and values.get("chat_template"):
                found.append(values["chat_template"])
    return found


def clear_retired() -> None:
    """Delete the weights of retired versions."""
    for version in ModelVersion.objects.exclude(retired=None).exclude(folder="").exclude(sha256=""):
        folder = version_folder(version)
        for part in ("model", "adapter"):
            if (folder / part).exists():
                forget(folder / part)
                log.info("weights_deleted", version=version.name, part=part)


def clear_old_runs(days: int = 14) -> None:
    """Delete checkpoints, data, stories and calls of old runs without a result: they contain writers' texts and use disk space."""
    before = timezone.now() - timedelta(days=days)
    for run in Run.objects.filter(state__in=("stopped", "failed"), finished__lt=before, forgotten=False):
        if not Run.objects.filter(pk=run.pk, state=run.state, finished=run.finished).update(forgotten=True):
            continue  # it was resumed meanwhile
        for part in ("checkpoints", "data", "dataset", "calls.jsonl", *OF_ROLLOUTS):
            forget(run_folder(run) / part)
