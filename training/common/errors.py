"""Errors that the command line shows without a traceback."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXIT_MENDABLE = 2
"""Status of a command that ended with a MendableError; its message is the last line of standard error."""


class MendableError(Exception):
    """Something that a person can mend; the message says what it is and what to do, in one line."""


class AskedToStop(BaseException):
    """SIGTERM came where there is nothing to save. Like KeyboardInterrupt no error, so nobody catches it by chance."""


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_SAID = (
    "PytorchStreamWriter",
    "unexpected pos",  # of the same writer
    "iostream error",
    "No space left",
    "File too large",
    "Disk quota exceeded",
)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)


def of_the_disk(error: BaseException, folder: Path) -> MendableError | None:
    """What Python, torch and safetensors say about a disk without room or without leave to write, as a sentence.

    torch writes through C++, which tells of a full disk as a RuntimeError of its zip writer; safetensors has an error of its own.
    """
    if isinstance(error, MendableError):
        return None
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL or (isinstance(error, Exception) and any(said in str(error) for said in _FULL_SAID)):
        return MendableError(
            f"There is no room left to write in {folder}: make some, and start the same command again; it resumes from the "
            "newest whole checkpoint."
        )
    if isinstance(error, OSError) and number in _CLOSED:
        return MendableError(
            f"{error.filename or folder} cannot be opened or written ({error.strerror}): mend that or choose another folder, and "
            "start the same command again."
        )
    return None


@contextmanager
def full_disk_said_plainly(folder: Path) -> Iterator[None]:
    """Raises what `of_the_disk` makes of an error inside."""
    try:
        yield
    except Exception as error:
        if said := of_the_disk(error, folder):
            raise said from error
        raise
