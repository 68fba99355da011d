"""Atomic checkpoints: a checkpoint is complete or absent.

All processes write the state into a temporary folder; then `manifest.json` is written with the size and SHA-256 of each file, everything is
flushed to the disk, and the folder is renamed to `step-000123`. A reader compares the files with the manifest, so that it notices truncated
files too. The newest few checkpoints are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from training.common.errors import MendableError, full_disk_said_plainly
from training.learner.processes import barrier, rank

KEEP = 2


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_checkpoint(
    folder: Path, step: int, write: Callable[[Path], None], facts: dict[str, Any], keep: int = KEEP
) -> Path:
    """Call `write` with a folder for the state after `step` steps, write the manifest, and delete older checkpoints. Returns the folder.

    All processes call this together. `facts` go into the manifest, for the reader to compare. Raises MendableError if the disk is full.
    """
    temporary, final = folder / f".writing-{step}", folder / f"step-{step:06d}"
    with full_disk_said_plainly(folder):
        if rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in folder.glob(".writing-*"):
                shutil.rmtree(leftover)
            temporary.mkdir()
        barrier()
        try:
            write(temporary)
        except Exception:
            shutil.rmtree(temporary, ignore_errors=True)  # frees space on a full disk, for the log
            raise
        barrier()
        if rank() == 0:
            _seal(temporary, final, {"step": step} | facts)
            for old in sorted(folder.glob("step-*"))[:-keep]:
                shutil.rmtree(old)
        barrier()
    return final


def _seal(temporary: Path, final: Path, facts: dict[str, Any]) -> None:
    files = sorted(path for path in temporary.rglob("*") if path.is_file())
    for path in files:
        _flush(path)
    manifest = facts | {"files": {str(path.relative_to(temporary)): _digest(path) for path in files}}
    (temporary / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    _flush(temporary / "manifest.json")
    if final.exists():  # damaged: otherwise the run would have resumed from it
        shutil.rmtree(final)
    temporary.rename(final)
    _flush(final.parent)


def read_manifest(checkpoint: Path) -> dict[str, Any] | None:
    """Return the manifest of a complete checkpoint, or None if a part of it is missing or damaged."""
    try:
        manifest: dict[str, Any] = json.loads((checkpoint / "manifest.json").read_bytes())
        complete = all(_digest(checkpoint / name) == digest for name, digest in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return manifest if complete else None


def latest_checkpoint(folder: Path, log: Callable[[str], None]) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest complete checkpoint with its manifest, or None if there is no checkpoint. Damaged ones are logged and skipped.

    Raises MendableError if all checkpoints are damaged, instead of silently starting from the beginning.
    """
    damaged = []
    for checkpoint in sorted(folder.glob("step-*"), reverse=True):
        if manifest := read_manifest(checkpoint):
            return checkpoint, manifest
        log(f"The checkpoint {checkpoint} is damaged and is skipped.")
        damaged.append(checkpoint.name)
    if damaged:
        raise MendableError(
            f"All checkpoints in {folder} are damaged ({', '.join(damaged)}): restore one from a backup, or move them away to "
            "start from the beginning."
        )
    return None


def load_state(checkpoint: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(checkpoint / "state.pt", weights_only=True)
    return state
