"""The processes of a run or of a model server, found by the mark in their environment, whoever started them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

MARK = "LONGHAND_FOLDER"
"""Its value is the folder of the run or version: no other run has it, not even one of another house on the same machine."""

LIFE = "LONGHAND_LIFE"
"""Names an inherited file: at its end the whole house is going down."""


def life() -> int:
    """That file; -1 where the house has none."""
    return int(os.environ.get(LIFE, "-1"))


def mark(folder: Path) -> dict[str, str]:
    """What the environment of a process gets. One that names itself, as vLLM's do, would wipe it out without SPT_NOENV (setproctitle)."""
    return {MARK: str(folder.resolve()), "SPT_NOENV": "1"}


def processes_of(folder: Path) -> list[psutil.Process]:
    """All that live, the first one first."""
    name, found = mark(folder)[MARK], []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == name and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return sorted(found, key=lambda one: (one.create_time(), one.pid))


def start(
    argv: Sequence[str], environment: dict[str, str], folder: Path, *, inherit: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """In a session of its own; what it says goes to output.log."""
    with (folder / "output.log").open("ab") as output:
        return subprocess.Popen(
            list(argv),
            env=environment,
            cwd=Path(__file__).resolve().parents[3],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=inherit,
        )


def ask_to_stop(folder: Path) -> None:
    """Each process of the training saves and ends; the launcher of several ends when they have."""
    found = processes_of(folder)
    ranks = [one for one in found if _has(one, "RANK")]
    for process in ranks or found[:1]:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)


def kill(folder: Path, seconds: float = 20.0) -> bool:
    """Kill all of it, again and again until nothing is left: a dying process may just have forked. False: the kernel holds one."""
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
    """Our own children among them would stay as zombies."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
