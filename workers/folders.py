"""The folders of runs, versions and data sets in VAR/studio."""

from __future__ import annotations

import shutil
from pathlib import Path

from django.conf import settings

from writer.stories.models import ModelVersion
from writer.studio.adapters import continued_version
from writer.studio.models import Dataset, Run


def studio() -> Path:
    return Path(settings.VAR) / "studio"


def run_folder(run: Run | int) -> Path:
    return studio() / "runs" / str(run if isinstance(run, int) else run.pk)


def version_folder(version: ModelVersion) -> Path:
    """The folder of a version with its own weights: they are in `model` and, after LoRA training, in `adapter`."""
    return studio() / version.folder


def datasets() -> Path:
    return studio() / "datasets"


def files_of(dataset: Dataset) -> list[Path]:
    return sorted((datasets() / dataset.folder).glob("*.jsonl"))


def model_path(version: ModelVersion) -> Path:
    """The folder with the complete weights of the version."""
    return version_folder(version) / "model" if version.sha256 else Path(version.tokenizer)


def weights_of(run: Run) -> dict[str, Path]:
    """The settings of a training that name the weights from which it begins: the model, and the adapter that it continues, if any."""
    assert run.base is not None
    if (adapted := continued_version(run)) is None:
        return {"model": model_path(run.base)}
    return {"model": model_path(adapted), "adapter": version_folder(run.base) / "adapter"}


def lines_in(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def private(folder: Path) -> Path:
    """Create the folder, readable only for its owner, if it does not exist; returns it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def size(folder: Path) -> int:
    """Disk usage of its files in bytes. Files that disappear meanwhile are not counted."""
    total = 0
    for path in folder.rglob("*"):
        try:
            status = path.lstat()
        except OSError:
            continue
        total += status.st_blocks * 512
    return total


def forget(place: Path) -> None:
    """Delete a folder or a file, if it exists."""
    if place.is_file():
        place.unlink(missing_ok=True)
    shutil.rmtree(place, ignore_errors=True)
