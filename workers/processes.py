"""The processes of a run or of a model server, found by a tag in their environment, whichever process started them."""

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
"""The folder of the run or version, which no other run has, even of another site on the same machine."""

SITE_SOCKET = "LONGHAND_LIFE"
"""The file descriptor of an inherited socket, whose other end is closed when the site shuts down."""


def site_socket() -> int:
    """The file descriptor of the inherited socket; -1 if there is none."""
    return int(os.environ.get(SITE_SOCKET, "-1"))


def site_is_gone(site_socket: int) -> bool:
    """Whether the other end of this socket is closed, without waiting."""
    return site_socket >= 0 and bool(select.select([site_socket], [], [], 0)[0])


def tag(folder: Path) -> dict[str, str]:
    """Variables for the environment of a process. Without SPT_NOENV, processes that set their title (vLLM) would overwrite it."""
    return {TAG: str(folder.resolve()), "SPT_NOENV": "1"}


def processes_of(folder: Path) -> list[psutil.Process]:
    """The living processes, oldest first."""
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
    """Start a process in its own session, with its output in output.log."""
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
    """Ask each process of the training to save and end. A launcher ends after its processes."""
    found = processes_of(folder)
    ranks = [one for one in found if _has(one, "RANK")]
    for process in ranks or found[:1]:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)


def kill(folder: Path, seconds: float = 20.0) -> bool:
    """Kill all of them, repeatedly, since a dying process may just have forked. Returns False if one cannot be killed in time."""
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
    """Wait for our own children, which would stay zombies otherwise."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
