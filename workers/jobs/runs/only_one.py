"""One follower to a run: a lock on a file of its folder, which holds the follower's process number.

The kernel holds the lock, so it ends with its process. A follower that holds it and lets its lease expire is frozen: it is killed.
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

COMMAND = "follow_run"
TRIES, PAUSE = 100, 0.2


@contextlib.contextmanager
def only_one(folder: Path, is_late: Callable[[], bool]) -> Iterator[None]:
    """Hold the lock; `is_late` says whether its holder has let the lease expire. Raises SystemExit where another one is alive."""
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


def _kill_holder(file: IO[str]) -> None:
    file.seek(0)
    number = file.read().strip()
    if number.isdigit():
        with contextlib.suppress(OSError):
            if COMMAND.encode() in Path(f"/proc/{number}/cmdline").read_bytes():
                os.kill(int(number), signal.SIGKILL)
