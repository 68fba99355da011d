"""Programs of ours, and the processes of pytest-xdist, without their seconds of imports: forked from a server that has imported torch,
transformers and Django already.

`Popen` is `subprocess.Popen`, but a command of this interpreter that begins as one of PROGRAMS is forked by the server. It is a process of its
own as any other: its environment and command line (in /proc, too), folder, open files, session, signals and exit status. It differs in two
ways: what it would import is there, and its parent is the server. A program so started starts those of PROGRAMS in the same way.

The protocol, over a Unix socket that keeps messages apart, one connection a process:

    client -> server    the order as JSON, with the open files: stdin, stdout, stderr and those passed on
    server -> client    the process id
    server -> client    its wait status, once it has ended
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = (
    ["-m", "training"], ["-m", "celery"], ["-m", "uvicorn"], ["-m", "tests.upstream.server"], ["-m", "tests.e2e.prepare"], ["-m", "tests.e2e.shell"],
    ["-m", "torch.distributed.run"], ["-m", "tests.machines"], [str(ROOT / "manage.py"), "narrate"], [str(ROOT / "manage.py"), "follow_run"],
    ["-c", "import sys;exec(eval(sys.stdin.readline()))"],  # as execnet starts the processes of pytest-xdist
)  # fmt: skip
IMPORTED = (
    "training.recipes.dpo.loop", "training.recipes.grpo.loop", "training.recipes.pretrain.loop", "training.recipes.reward_model.loop", "peft",
    "celery.bin.celery", "channels.routing", "channels_redis.core", "django.core.handlers.asgi", "httptools", "psycopg_pool",
    "pydantic_settings", "scipy.optimize", "scipy.stats", "structlog", "uvicorn.main", "uvloop",
)  # fmt: skip
"""What takes long and asks for no settings."""
LONGEST, MOST_FILES = 1 << 17, 16
"""Bytes and open files of an order."""


def address() -> str:
    return str(Path(os.environ["LONGHAND_TESTS"]) / "warm.sock")


def start_when_asked() -> None:
    """Listen, and start the server when somebody connects for the first time. It ends with this process."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address())
    listener.listen(64)
    life, ours = os.pipe()

    def start() -> None:
        select.select([listener], [], [])
        room = "-" * (1 << 15)  # in memory, for the environment and the command line of what is forked
        subprocess.Popen(
            [sys.executable, "-m", "tests.warm", str(listener.fileno()), str(life), room],
            env=os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "ROOM": room},
            cwd=ROOT,
            pass_fds=[listener.fileno(), life],
            stdin=subprocess.DEVNULL,
        )
        listener.close()

    atexit.register(os.close, ours)
    threading.Thread(target=start, name="warm server", daemon=True).start()


class Popen(subprocess.Popen[Any]):
    _wire: socket.socket | None = None

    def __init__(self, args: Any, *given: Any, **options: Any) -> None:
        self._session = bool(options.get("start_new_session"))
        super().__init__(args, *given, **options)

    def _execute_child(self, args: Any, *given: Any) -> None:
        _, before, _, passed, folder, environment, _, _, _, *pipes = given[:15]
        environment = dict(os.environ if environment is None else environment)
        if (
            before is not None
            or not _is_ours(args)
            or "LONGHAND_TESTS" not in os.environ
            or _adds_packages(environment)
        ):
            super()._execute_child(args, *given)  # type: ignore[misc]
            return
        sys.audit("subprocess.Popen", sys.executable, args, folder, environment)
        order = {
            "argv": list(map(os.fspath, args)), "folder": os.fspath(folder or Path.cwd()), "session": self._session,
            "environment": environment, "passed": sorted(passed),
        }  # fmt: skip
        own = [file if file >= 0 else number for number, file in enumerate((pipes[0], pipes[3], pipes[5]))]
        wire = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        wire.connect(address())
        socket.send_fds(wire, [json.dumps(order).encode()], [*own, *sorted(passed)])
        self.pid = int(wire.recv(64))
        self._wire = wire
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _try_wait(self, flags: int) -> tuple[int, int]:
        if self._wire is None:
            return super()._try_wait(flags)  # type: ignore[misc, no-any-return]
        if flags & os.WNOHANG and not select.select([self._wire], [], [], 0)[0]:
            return 0, 0
        said = self._wire.recv(64)
        self._wire.close()
        return self.pid, int(said or signal.SIGKILL)  # nothing: the server was killed, which nobody does

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self._wire is None:
            return super()._internal_poll()  # type: ignore[misc, no-any-return]
        lock: threading.Lock = self._waitpid_lock  # type: ignore[attr-defined]
        if self.returncode is None and lock.acquire(blocking=False):  # else another thread waits for it
            try:
                if self.returncode is None and (ended := self._try_wait(os.WNOHANG))[0]:  # type: ignore[redundant-expr]
                    self._handle_exitstatus(ended[1])  # type: ignore[attr-defined]
            finally:
                lock.release()
        return self.returncode


def _is_ours(args: Any) -> bool:
    return isinstance(args, (list, tuple)) and args[0] == sys.executable and _rest(args)[:2] in PROGRAMS


def _adds_packages(environment: Mapping[str, str]) -> bool:
    """Whether the program would find packages that the server does not have, whose entry points it looks for while it imports."""
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    return any(path and path != str(ROOT) for path in paths)


def _rest(args: Sequence[Any]) -> list[Any]:
    """What stands behind the interpreter and its option for output at once."""
    return [*args[2 if args[1] == "-u" else 1 :]]


def serve(listener: socket.socket, life: int) -> dict[str, Any] | None:
    """Fork for whoever asks: returns in each child, with its order; and with None in the server, at the end of `life`."""
    ended, wake = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([listener.fileno(), life, ended], [], [])
        if life in ready:
            return None
        if ended in ready:
            os.read(ended, 4096)
            with contextlib.suppress(ChildProcessError):
                while (found := os.waitpid(-1, os.WNOHANG))[0]:
                    with running.pop(found[0]) as wire, contextlib.suppress(OSError):
                        wire.send(str(found[1]).encode())
        if listener.fileno() in ready:
            wire, _ = listener.accept()
            said, files, _, _ = socket.recv_fds(wire, LONGEST, MOST_FILES)
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                order: dict[str, Any] = json.loads(said)
                for one in (listener, wire, *running.values()):
                    one.detach()
                _take(files, [0, 1, 2, *order["passed"]])
                return order
            running[pid] = wire
            for file in files:
                os.close(file)
            wire.send(str(pid).encode())


def _take(files: Sequence[int], numbers: Sequence[int]) -> None:
    """Give open files their numbers, and close all others."""
    apart = [fcntl.fcntl(file, fcntl.F_DUPFD, 500) for file in files]
    for file, number in zip(apart, numbers, strict=True):
        os.dup2(file, number)
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in numbers:
            with contextlib.suppress(OSError):
                os.close(int(name))


def become(order: dict[str, Any]) -> None:
    """Turn this process into the program."""
    if order["session"]:
        os.setsid()
    os.chdir(order["folder"])
    server = os.environ["LONGHAND_TESTS"]
    os.environ.clear()  # the C library, too, looks into this memory no more
    environment = [f"{name}={value}" for name, value in order["environment"].items()]
    where = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:49]
    for place, parts in ((0, order["argv"]), (2, environment)):
        start, end = map(int, where[place : place + 2])
        shown = "".join(f"{part}\0" for part in parts).encode()
        ctypes.memmove(start, shown[: end - start].ljust(end - start, b"\0"), end - start)
    os.environ |= {"LONGHAND_TESTS": server} | order["environment"]  # for what it starts itself, as torchrun does
    at_once = bool(os.environ.get("PYTHONUNBUFFERED")) or order["argv"][1] == "-u"
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, buffering=1, errors="backslashreplace")  # noqa: SIM115
    sys.stdout.reconfigure(write_through=at_once, line_buffering=at_once)
    code = 1
    try:
        match _rest(order["argv"]):
            case ["-m", module, *rest]:
                sys.argv[1:] = rest
                runpy.run_module(module, run_name="__main__", alter_sys=True)
            case ["-c", code]:
                sys.argv = ["-c"]
                exec(code, {"__name__": "__main__"})
            case [path, *rest]:
                sys.argv = [path, *rest]
                runpy.run_path(path, run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
        if end.code and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(code & 0xFF)


def main() -> None:
    subprocess.Popen = Popen  # type: ignore[misc]
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        for name in IMPORTED:
            import_module(name)
        gc.collect()
        gc.freeze()
        order = serve(listener, int(sys.argv[2]))
    if order:
        become(order)
    os._exit(0)  # frozen objects look like leaks at an ordinary end


if __name__ == "__main__":
    main()
