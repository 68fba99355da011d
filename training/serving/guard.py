"""Starts one program, and never outlives the process that requested it. Uses only the standard library.

The protocol, over a socket inherited as file descriptor FD:

    guard  -> parent    "PID\\n"         the program is running under this process id
    parent -> guard     "stop"           stop the program, which has `grace` seconds to end by itself
    parent -> guard     end of file      the same, within `hurry` seconds: the parent died (kill -9 included)
    guard  -> parent    end of file      the program and all that it started have ended; the guard exits with its status

There is one way to stop, whichever process dies first. The guard is a subreaper: processes that the program started and left
(PostgreSQL's backends, vLLM's engine) become the guard's children and are killed with it. If the guard itself is killed, the kernel
sends the program its "parent died" signal.

    python -I -S guard.py '{"fd": 3, "hold": [], "argv": [...], "stop": 15, "grace": 10, "hurry": 3, "uid": null, "gid": null, "cwd": null}'

With `fd` null there is no socket, and only a signal stops the program. With `shared` other processes hold the same end of the
socket: nothing is read from it or written to it; when it closes, the program is stopped. With `alone` the guard is no subreaper:
processes that the program started in their own sessions outlive it.

`sockets` names a variable of the program's environment: a folder of its own for sockets, which is removed at the end.

`hold` lists file descriptors that the guard keeps open and the program does not get: a lock on them is released only when
the last program of a killed run has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

MOST_BASE = 48
"""Bytes of a path, so that that of a socket in a folder in it, named by a UUID, has no more than 107."""
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _become(order: dict[str, Any], guard: int) -> NoReturn:
    """In the forked child: drop privileges, request the signal (afterwards, since a change of user clears it), then exec."""
    os.setpgid(0, 0)
    if order["uid"] is not None:
        os.setgroups([])
        os.setresgid(order["gid"], order["gid"], order["gid"])
        os.setresuid(order["uid"], order["uid"], order["uid"])
    if order["cwd"] is not None:
        os.chdir(order["cwd"])
    os.umask(0o077)
    _prctl(PR_SET_PDEATHSIG, order["stop"] if order["stop"] == signal.SIGINT else signal.SIGKILL)
    if os.getppid() != guard:  # the guard died between the fork and the request
        os._exit(1)
    os.execvpe(order["argv"][0], order["argv"], os.environ)


def _socket_folder(variable: str | None) -> str | None:
    """Make a folder, in the one that the variable names already or in that for temporary files, and let the variable name it."""
    if not variable:
        return None
    base = os.environ.get(variable) or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
    if len(os.fsencode(base)) > MOST_BASE or not os.access(base, os.W_OK):
        base = "/tmp"  # noqa: S108
    folder = os.environ[variable] = f"{base}/longhand-{os.urandom(6).hex()}"
    os.mkdir(folder, 0o700)  # noqa: PTH102
    return folder


def _remove(folder: str | None) -> None:
    if folder:
        with contextlib.suppress(OSError):
            for entry in os.scandir(folder):
                os.unlink(entry.path)  # noqa: PTH108
            os.rmdir(folder)  # noqa: PTH106


def _descendants(root: int) -> list[int]:
    """All descendants of the process `root`, by the parents in /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 (pathlib would double the start-up time)
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue  # it has ended meanwhile
            children.setdefault(parent, []).append(int(name))
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _reap(child: int) -> int | None:
    """Wait for ended children; returns the status of `child` if it is among them."""
    status = None
    while True:
        try:
            pid, raw = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == child:
            status = raw


def _kill_all() -> None:
    """Kill all descendants of this guard, repeatedly, since a dying process may just have forked."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        _reap(-1)
        left = _descendants(os.getpid())
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def main() -> int:
    order = json.loads(sys.argv[1])
    wire: int | None = order["fd"]
    os.setsid()  # Ctrl-C on the terminal is for the supervisor, which stops the guards in the right order
    if not order["alone"]:
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
    wake_in, wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_out)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)

    folder = _socket_folder(order.get("sockets"))
    guard = os.getpid()
    child = os.fork()
    if child == 0:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        for descriptor in order["hold"] if wire is None else [wire, *order["hold"]]:
            os.set_inheritable(descriptor, False)
        try:
            _become(order, guard)
        except OSError as error:
            os.write(2, f"cannot start {order['argv'][0]}: {error.strerror}\n".encode())
        os._exit(127)
    if wire is not None and not order["shared"]:
        try:
            os.write(wire, b"%d\n" % child)
        except OSError:
            stopping = True

    code = os.waitstatus_to_exitcode(_watch(child, order, wire, wake_in, lambda: stopping))
    if not order["alone"]:
        _kill_all()
    _remove(folder)
    return code if code >= 0 else 128 - code


def _watch(child: int, order: dict[str, Any], wire: int | None, wake: int, stop_asked: Callable[[], bool]) -> int:
    """Wait for the end of `child`, and stop it after the socket has closed or a signal has arrived. Returns its status."""
    status: int | None = None
    asked, closed = False, wire is None
    gone = False
    grace = order["grace"]
    deadline = float("inf")
    while status is None:
        if (stop_asked() or gone) and not asked:
            asked = True
            deadline = time.monotonic() + grace
            os.kill(child, order["stop"])
            os.kill(child, signal.SIGCONT)  # a stopped program would not react
        elif time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            deadline = time.monotonic() + 1.0
        pause = max(0.0, min(deadline - time.monotonic(), 3600.0))
        ready, _, _ = select.select([wake] if closed or wire is None else [wake, wire], [], [], pause)
        if wake in ready:
            os.read(wake, 4096)
        if wire is not None and wire in ready:
            closed = gone = True
            grace = order["hurry"] if order["shared"] or not _said_stop(wire) else order["grace"]
        status = _reap(child)
    return status


def _said_stop(wire: int) -> bool:
    try:
        return bool(os.read(wire, 64))
    except ConnectionError:  # the parent died before it read our line
        return False


if __name__ == "__main__":
    sys.exit(main())
