"""Folders that one process works in at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.common.errors import MendableError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes it, if it is not there; the kernel holds the lock, so it ends with the process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise MendableError(f"{folder} cannot be a folder, because a file is there: choose another run_dir.") from None
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise MendableError(
                f"Another process is at work in {folder}: wait for it, or choose another run_dir."
            ) from None
        yield
