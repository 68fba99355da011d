"""A lock that allows one follower for each run, on a file in its folder that contains the follower's process id.

The kernel releases the lock when the process ends. A follower that holds it while its lease has expired is frozen, and is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

COMMANDS = (b"follow_run", b"workers.jobs.runs.follow")
"""What the command line of a follower has: now, and of one that an earlier version started."""
TRIES, PAUSE = 100, 0.2


@contextlib.contextmanager
def only_one(folder: Path, is_late: Callable[[], bool]) -> Iterator[None]:
    """Hold the lock. `is_late` tells whether the lease of its holder has expired. Raises SystemExit if another follower is alive."""
    with (folder / ".follower").open("a+") as file:
        for _ in range(TRIES):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if is_late():
                _kill_holder(file)
            time.sleep(PAUSE)
        else:
            raise SystemExit(f"Another process follows the run in {folder}.")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def is_held(folder: Path) -> bool:
    """Whether a process holds the lock."""
    try:
        with (folder / ".follower").open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _kill_holder(file: IO[str]) -> None:
    file.seek(0)
    number = file.read().strip()
    if number.isdigit():
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{number}/cmdline").read_bytes()
            if any(command in line for command in COMMANDS):
                os.kill(int(number), signal.SIGKILL)
