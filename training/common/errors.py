"""Errors that the command line shows without a traceback."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXIT_MENDABLE = 2
"""Status of a command that ended with a MendableError; its message is the last line of standard error."""


class MendableError(Exception):
    """An error that the user can correct; its message explains it and says what to do, in one line."""


def one_line(error: Exception) -> str:
    """Return an error's message on one line, shortened to 300 characters."""
    message = " ".join(str(error).split()) or type(error).__name__
    return message if len(message) <= 300 else message[:300] + " ..."


class AskedToStop(BaseException):
    """Raised on SIGTERM while there is nothing to save. Not an Exception, like KeyboardInterrupt, so that no handler of errors catches it."""


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_MESSAGES = (
    "PytorchStreamWriter",
    "unexpected pos",  # also torch's writer
    "iostream error",
    "No space left",
    "File too large",
    "Disk quota exceeded",
)
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)


def disk_error(error: BaseException, folder: Path) -> MendableError | None:
    """Return a MendableError that explains an error of a full or read-only disk; None for other errors.

    torch reports a full disk as a RuntimeError of its zip writer, and safetensors as an error of its own, so messages are compared too.
    """
    if isinstance(error, MendableError):
        return None
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL or (isinstance(error, Exception) and any(part in str(error) for part in _FULL_MESSAGES)):
        return MendableError(
            f"There is no space left to write in {folder}: free some, and start the same command again; it resumes from the "
            "newest complete checkpoint."
        )
    if isinstance(error, OSError) and number in _NOT_WRITABLE:
        return MendableError(
            f"{error.filename or folder} cannot be opened or written ({error.strerror}): correct that or choose another folder, and "
            "start the same command again."
        )
    return None


@contextmanager
def disk_errors_explained(folder: Path) -> Iterator[None]:
    """Raise errors of a full or read-only disk as MendableError (`disk_error`)."""
    try:
        yield
    except Exception as error:
        if explained := disk_error(error, folder):
            raise explained from error
        raise
