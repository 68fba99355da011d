"""Starts one program and never outlives the process that asked for it. Runs alone: the standard library only.

The protocol, over a socket inherited as file descriptor FD:

    guard  -> parent    "PID\\n"         the program is running under this process id
    parent -> guard     end of file      stop the program (the parent asked for it, or it died: kill -9 included)
    guard  -> parent    end of file      the program and everything it started is gone; the guard's exit status is its own

Stopping is therefore one path, always the same, whoever dies first. The guard is a subreaper: what the program started
and left behind (PostgreSQL's backends, vLLM's engine) becomes the guard's child and is killed with it. Should the guard
itself be killed, the kernel sends the program its "parent died" signal.

    python -I -S guard.py '{"fd": 3, "argv": [...], "stop": 15, "grace": 10, "uid": null, "gid": null, "cwd": null}'
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
from typing import Any, NoReturn

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _become(order: dict[str, Any], guard: int) -> NoReturn:
    """The forked child: drop privileges, ask for the signal (a change of user clears it, so afterwards), then exec."""
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


def _descendants(root: int) -> list[int]:
    """Every process below `root`, by the parents that /proc names."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue  # it ended while we looked
            children.setdefault(parent, []).append(int(name))
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _reap(child: int) -> int | None:
    """Collect whoever ended; the status of `child` if it was among them."""
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
    """Kill whatever is left below this guard. Twice round at least: a dying process may just have forked."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        _reap(-1)
        left = _descendants(os.getpid())
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        time.sleep(0.02)


def main() -> int:
    order = json.loads(sys.argv[1])
    wire: int = order["fd"]
    os.setsid()  # Ctrl-C on the terminal is for the supervisor: it stops us in the right order
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

    guard = os.getpid()
    child = os.fork()
    if child == 0:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.set_inheritable(wire, False)
        try:
            _become(order, guard)
        except OSError as error:
            os.write(2, f"cannot start {order['argv'][0]}: {error.strerror}\n".encode())
        os._exit(127)
    try:
        os.write(wire, b"%d\n" % child)
    except OSError:
        stopping = True

    status: int | None = None
    deadline = float("inf")
    while status is None:
        watched = [wake_in] if stopping else [wake_in, wire]
        ready, _, _ = select.select(watched, [], [], max(0.0, min(deadline - time.monotonic(), 3600.0)))
        if wake_in in ready:
            os.read(wake_in, 4096)
        if wire in ready and not os.read(wire, 64):
            stopping = True
        status = _reap(child)
        if stopping and status is None:
            now = time.monotonic()
            if deadline == float("inf"):
                deadline = now + order["grace"]
                os.kill(child, order["stop"])
                os.kill(child, signal.SIGCONT)  # a frozen program could not obey
            elif now >= deadline:
                os.kill(child, signal.SIGKILL)
                deadline = now + 1.0
    _kill_all()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
