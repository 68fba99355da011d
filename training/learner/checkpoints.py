"""Checkpoints that are whole or absent.

A checkpoint is written into a temporary folder: first the state, by all processes, then `manifest.json` with the size and SHA-256
of each file, each flushed to the disk; then the folder is renamed to `step-000123` in one step. A reader trusts only what the
manifest vouches for, so a disk that lost the end of a file is noticed as well. The newest few are kept.
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
from training.learner.processes import rank, wait_for_all

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
    """Have `write` put the state after `step` steps into a folder, vouch for it, and drop the older checkpoints.

    All processes call this together. `facts` go into the manifest, for the reader to compare.
    """
    temporary, final = folder / f".writing-{step}", folder / f"step-{step:06d}"
    with full_disk_said_plainly(folder):
        if rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in folder.glob(".writing-*"):
                shutil.rmtree(leftover)
            temporary.mkdir()
        wait_for_all()
        try:
            write(temporary)
        except Exception:
            shutil.rmtree(temporary, ignore_errors=True)  # on a full disk, so that there is room to say so
            raise
        wait_for_all()
        if rank() == 0:
            _seal(temporary, final, {"step": step} | facts)
            for old in sorted(folder.glob("step-*"))[:-keep]:
                shutil.rmtree(old)
        wait_for_all()
    return final


def _seal(temporary: Path, final: Path, facts: dict[str, Any]) -> None:
    files = sorted(path for path in temporary.rglob("*") if path.is_file())
    for path in files:
        _flush(path)
    manifest = facts | {"files": {str(path.relative_to(temporary)): _digest(path) for path in files}}
    (temporary / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    _flush(temporary / "manifest.json")
    if final.exists():  # only an unusable one: a usable one would have been resumed from
        shutil.rmtree(final)
    temporary.rename(final)
    _flush(final.parent)


def read_manifest(checkpoint: Path) -> dict[str, Any] | None:
    """The manifest of a whole checkpoint, or None if a part of it is missing or damaged."""
    try:
        manifest: dict[str, Any] = json.loads((checkpoint / "manifest.json").read_bytes())
        whole = all(_digest(checkpoint / name) == digest for name, digest in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return manifest if whole else None


def latest_checkpoint(folder: Path, say: Callable[[str], None]) -> tuple[Path, dict[str, Any]] | None:
    """The newest whole checkpoint with its manifest; a damaged one is passed over, and said to be.

    If there are checkpoints and all are damaged, that is an error: to start from nothing would not be what anybody expects.
    """
    damaged = []
    for checkpoint in sorted(folder.glob("step-*"), reverse=True):
        if manifest := read_manifest(checkpoint):
            return checkpoint, manifest
        say(f"The checkpoint {checkpoint} is damaged and is passed over.")
        damaged.append(checkpoint.name)
    if damaged:
        raise MendableError(
            f"All checkpoints in {folder} are damaged ({', '.join(damaged)}): put one back from a backup, or move them away to "
            "start from the beginning."
        )
    return None


def load_state(checkpoint: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(checkpoint / "state.pt", weights_only=True)
    return state
