"""A lock on a folder, for one process at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.common.errors import MendableError


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Lock a folder, which is made if it does not exist. The kernel releases the lock when the process ends.

    Raises MendableError if another process holds the lock, or if `folder` cannot be a folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise MendableError(f"{folder} cannot be a folder, because there is a file: choose another run_dir.") from None
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise MendableError(f"Another process is using {folder}: wait for it, or choose another run_dir.") from None
        yield
