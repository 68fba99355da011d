"""Programs that stop together with this process: the parent's side of the protocol in `guard.py`."""

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
    """A server did not start. The message is for the person who started it."""


@dataclass(frozen=True)
class Owner:
    """The user that a program runs as, if it is not the current user."""

    uid: int
    gid: int


class Process:
    """A running program under its guard. `pid` is that of the program, `output` its output if `stdout` is PIPE."""

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
        give: Sequence[int] = (),
        alone: bool = False,
        sockets: str = "",
    ) -> None:
        """`grace`: seconds to end after `stop`; `hurry`: seconds to end after this process was killed.

        `give`: open files for the program. `alone`: programs that it starts in their own sessions do not end with it.

        `sockets`: a variable of the environment that names the program a new folder for its sockets, removed when it has ended.

        `hold`: open files, such as a lock, that stay open until the program has ended, even if this process is killed.
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
            "shared": False,
            "alone": alone,
            "sockets": sockets,
        }
        self.grace = grace
        with far:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD), json.dumps(order)],
                env=dict(os.environ if env is None else env),
                pass_fds=[far.fileno(), *hold, *give],
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
        with contextlib.suppress(OSError):  # it has ended already, or was asked before
            self._wire.send(b"stop")
        self._wire.close()

    def stop(self) -> None:
        """Stop the program and all that it started, and wait until they have ended."""
        self.ask_to_stop()
        try:
            self._guard.wait(self.grace + 15)
        except subprocess.TimeoutExpired:  # only possible for a process in uninterruptible sleep
            self._guard.kill()
            self._guard.wait()
        if self._guard.stdout is not None:
            self._guard.stdout.close()


def start_apart(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    log: Path,
    site_socket: int = -1,
    grace: float = 10.0,
    sockets: str = "",
) -> None:
    """Start a program that outlives this process. A signal to its guard stops it, and so does the end of the open socket `site_socket`.

    Everything that it starts ends with it. `sockets` as for `Process`.
    """
    order = {
        "fd": site_socket if site_socket >= 0 else None, "hold": [], "argv": list(argv), "stop": int(signal.SIGTERM), "grace": grace, "hurry": grace,
        "uid": None, "gid": None, "cwd": str(cwd), "shared": True, "alone": False, "sockets": sockets,
    }  # fmt: skip
    with log.open("ab") as output:
        subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), json.dumps(order)],
            env=dict(env),
            pass_fds=[site_socket] if site_socket >= 0 else [],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def alive(pid: int) -> bool:
    """Whether the process exists (a zombie does not count)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
