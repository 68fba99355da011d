"""A program that stops with us: the parent's half of the protocol in `guard.py`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

GUARD = Path(__file__).with_name("guard.py")


class CannotStart(RuntimeError):
    """A server did not come up; the message is for the person who started it."""


@dataclass(frozen=True)
class Owner:
    """The user that a program runs as, where that is not ourselves."""

    uid: int
    gid: int


class Process:
    """One running program under its guard. `pid` is the program's own, `output` its lines if they were asked for."""

    def __init__(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        owner: Owner | None = None,
        stop: signal.Signals = signal.SIGTERM,
        grace: float = 10.0,
        hurry: float = 3.0,
        stdout: int | IO[bytes] | None = None,
        hold: Sequence[int] = (),
    ) -> None:
        """`grace` seconds to end when we stop it, `hurry` seconds when we were killed.

        `hold`: open files, such as a lock, that stay open until the program is gone, even if we are killed.
        """
        self._wire, far = socket.socketpair()
        order = {
            "fd": far.fileno(),
            "hold": list(hold),
            "argv": [os.fspath(part) for part in argv],
            "stop": int(stop),
            "grace": grace,
            "hurry": hurry,
            "uid": owner.uid if owner else None,
            "gid": owner.gid if owner else None,
            "cwd": str(cwd) if cwd else None,
        }
        self.grace = grace
        with far:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD), json.dumps(order)],
                env=dict(os.environ if env is None else env),
                pass_fds=[far.fileno(), *hold],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.STDOUT if stdout is not None else None,
            )
        said = self._wire.recv(64)
        if not said:
            self._guard.wait()
            raise CannotStart(f"{order['argv'][0]} did not start")  # type: ignore[index]
        self.pid = int(said)

    @property
    def output(self) -> IO[bytes] | None:
        return self._guard.stdout

    @property
    def returncode(self) -> int | None:
        """None while the program runs; then its exit status (128 + n after signal n)."""
        return self._guard.poll()

    def wait(self, timeout: float | None = None) -> int:
        return self._guard.wait(timeout)

    def ask_to_stop(self) -> None:
        """Begin the stop without waiting for it."""
        with contextlib.suppress(OSError):  # it is gone already, or was asked before
            self._wire.send(b"stop")
        self._wire.close()

    def stop(self) -> None:
        """Stop the program and all that it started; returns when they are gone."""
        self.ask_to_stop()
        try:
            self._guard.wait(self.grace + 15)
        except subprocess.TimeoutExpired:  # only a process that the kernel itself holds can get here
            self._guard.kill()
            self._guard.wait()
        if self._guard.stdout is not None:
            self._guard.stdout.close()


def alive(pid: int) -> bool:
    """Whether the process exists (a zombie does not count)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")
