"""Checkpoints that are whole or absent.

A checkpoint is written into a temporary folder: first the state, then `manifest.json` with the size and SHA-256 of each
file, each flushed to the disk; then the folder is renamed to `step-000123` in one step. A reader trusts only what the
manifest vouches for, so a disk that lost the end of a file is noticed as well. The newest two are kept.
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


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], settings: dict[str, Any]) -> Path:
    """Write the state after `step` steps and drop the older checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".writing-*"):
        shutil.rmtree(leftover)
    temporary, final = folder / f".writing-{step}", folder / f"step-{step:06d}"
    temporary.mkdir()
    torch.save(state, temporary / "state.pt")
    _flush(temporary / "state.pt")
    manifest = {"step": step, "settings": settings, "files": {"state.pt": _digest(temporary / "state.pt")}}
    (temporary / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    _flush(temporary / "manifest.json")
    if final.exists():  # only an unusable one: a usable one would have been resumed from
        shutil.rmtree(final)
    temporary.rename(final)
    _flush(folder)
    for old in sorted(folder.glob("step-*"))[:-KEEP]:
        shutil.rmtree(old)
    return final


def read_manifest(checkpoint: Path) -> dict[str, Any] | None:
    """The manifest of a whole checkpoint, or None if a part of it is missing or damaged."""
    try:
        manifest: dict[str, Any] = json.loads((checkpoint / "manifest.json").read_bytes())
        whole = all(_digest(checkpoint / name) == digest for name, digest in manifest["files"].items())
    except (OSError, ValueError, KeyError):
        return None
    return manifest if whole else None


def latest_checkpoint(folder: Path, say: Callable[[str], None]) -> tuple[Path, dict[str, Any]] | None:
    """The newest whole checkpoint with its manifest; a damaged one is passed over, and said to be."""
    for checkpoint in sorted(folder.glob("step-*"), reverse=True):
        if manifest := read_manifest(checkpoint):
            return checkpoint, manifest
        say(f"The checkpoint {checkpoint} is damaged and is passed over.")
    return None


def load_state(checkpoint: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(checkpoint / "state.pt", weights_only=True)
    return state
