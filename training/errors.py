"""Errors that the command line shows without a traceback."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class MendableError(Exception):
    """Something that a person can mend; the message says what it is and what to do, in one line."""


@contextmanager
def full_disk_said_plainly(folder: Path) -> Iterator[None]:
    """Turns what Python and torch say about a disk without room into a sentence.

    torch writes through C++, which tells of a full disk as a RuntimeError of its zip writer.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        if not full and "PytorchStreamWriter" not in str(error) and "No space left" not in str(error):
            raise
        raise MendableError(
            f"There is no room left to write in {folder}: make some, and start the same command again; it goes on from the "
            "newest whole checkpoint."
        ) from error
