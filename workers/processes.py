"""The processes of a run or of a model server, found by the tag in their environment, whoever started them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]

TAG = "LONGHAND_FOLDER"
"""Its value is the folder of the run or version: no other run has it, not even one of another site on the same machine."""

LIFE = "LONGHAND_LIFE"
"""Its value is the number of an inherited socket, whose other end is closed when the whole site goes down."""


def life() -> int:
    """That socket; -1 where there is none."""
    return int(os.environ.get(LIFE, "-1"))


def site_is_gone(life: int) -> bool:
    """Whether the other end of the socket `life` is closed, without waiting."""
    return life >= 0 and bool(select.select([life], [], [], 0)[0])


def tag(folder: Path) -> dict[str, str]:
    """What the environment of a process gets. One that names itself, as vLLM's do, would wipe it out without SPT_NOENV (setproctitle)."""
    return {TAG: str(folder.resolve()), "SPT_NOENV": "1"}


def processes_of(folder: Path) -> list[psutil.Process]:
    """All that live, the first one first."""
    name, found = tag(folder)[TAG], []
    for process in psutil.process_iter():
        try:
            if process.environ().get(TAG) == name and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return sorted(found, key=lambda one: (one.create_time(), one.pid))


def start(
    argv: Sequence[str], environment: dict[str, str], folder: Path, *, inherit: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own; its output goes to output.log."""
    with (folder / "output.log").open("ab") as output:
        return subprocess.Popen(
            list(argv),
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=inherit,
        )


def ask_to_stop(folder: Path) -> None:
    """Ask each process of the training to save and end; the launcher of several ends when they have."""
    found = processes_of(folder)
    ranks = [one for one in found if _has(one, "RANK")]
    for process in ranks or found[:1]:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)


def kill(folder: Path, seconds: float = 20.0) -> bool:
    """Kill all of them, again and again until none is left: a dying process may just have forked. False: the kernel holds one."""
    end = time.monotonic() + seconds
    while found := processes_of(folder):
        if time.monotonic() > end:
            return False
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        _reap()
        time.sleep(0.05)
    return True


def _has(process: psutil.Process, name: str) -> bool:
    try:
        return name in process.environ()
    except (psutil.Error, OSError):
        return False


def _reap() -> None:
    """Take leave of our own children among them, which would stay as zombies."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
