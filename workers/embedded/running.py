"""The state of a running Longhand: `run.json`, which only its owner can read, and a lock that shows whether it runs."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

ADDRESSES = ("DATABASE_URL", "REDIS_URL", "MODEL_SERVER_URL", "MODEL_SERVER_KEY", "WORKER_DATABASE_URL")


def lock(var: Path) -> int | None:
    """Lock this folder for as long as the returned file is open; None if another process holds the lock."""
    descriptor = os.open(var / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def write(var: Path, notes: dict[str, Any]) -> None:
    """Replace run.json atomically."""
    fresh = var / "run.json.new"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(notes, file, indent=2)
        file.write("\n")
    fresh.rename(var / "run.json")


def read(var: Path) -> dict[str, Any] | None:
    """The contents of run.json if the lock is held; None if nothing runs in this folder."""
    if not (var / "run.json").exists() or not (var / "lock").exists():
        return None
    descriptor = lock(var)
    if descriptor is not None:
        os.close(descriptor)
        return None
    notes: dict[str, Any] = json.loads((var / "run.json").read_text())
    return notes


def use_running_servers() -> None:
    """Connect a command such as `manage.py migrate` to the servers that `manage.py up` started in this folder."""
    root = Path(__file__).resolve().parent.parent.parent
    var = root / os.environ.get("VAR", "var")
    if os.environ.get("DATABASE_URL"):
        return
    try:
        notes = read(var)
    except OSError:  # another user's run
        return
    if notes is not None:
        for name in ADDRESSES:
            if value := notes.get("environment", {}).get(name):
                os.environ.setdefault(name, value)
