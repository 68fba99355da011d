"""What a running Longhand says about itself: `run.json`, for its owner only, and the lock that tells whether it runs."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

ADDRESSES = ("DATABASE_URL", "REDIS_URL", "MODEL_SERVER_URL", "MODEL_SERVER_KEY", "WORKER_DATABASE_URL")


def lock(var: Path) -> int | None:
    """Take the lock of this folder for as long as the returned file is open; None where another process holds it."""
    descriptor = os.open(var / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def write(var: Path, notes: dict[str, Any]) -> None:
    """Replace run.json in one step: a reader sees the old or the new, whole."""
    fresh = var / "run.json.new"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(notes, file, indent=2)
        file.write("\n")
    fresh.rename(var / "run.json")


def read(var: Path) -> dict[str, Any] | None:
    """What run.json says, if the lock is held; None when nothing runs in this folder."""
    if not (var / "run.json").exists() or not (var / "lock").exists():
        return None
    descriptor = lock(var)
    if descriptor is not None:
        os.close(descriptor)
        return None
    notes: dict[str, Any] = json.loads((var / "run.json").read_text())
    return notes


def use_running_servers() -> None:
    """Let a command such as `manage.py migrate` meet the servers that `manage.py up` started in this folder."""
    root = Path(__file__).resolve().parent.parent.parent
    var = root / os.environ.get("VAR", "var")
    if os.environ.get("DATABASE_URL"):
        return
    try:
        notes = read(var)
    except OSError:  # another user's run is none of our business
        return
    if notes is not None:
        for name in ADDRESSES:
            if value := notes.get("environment", {}).get(name):
                os.environ.setdefault(name, value)
