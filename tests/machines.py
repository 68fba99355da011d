"""Machines of a test: GPU workers with a network, processes, a name, `/tmp` and `/dev/shm` of their own, joined by a bridge. Only root can make them.

machines([...], shared, copied, ...)    starts one process for each: `python -m tests.machines`, whose order comes in its environment
that process                            enters its namespaces, and forks the machine's first process, which dies with it, and with which all die
the first process                       mounts what it has, and is what `workers.jobs.keeper` is, with a warm server of its own (`tests.warm`)
"""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from tests import warm

ORDER = "LONGHAND_MACHINE"
NEWNS, NEWUTS, NEWIPC, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
PREFIX = "longhand"


def _do(command: str) -> str:
    return subprocess.run(shlex.split(command), check=True, capture_output=True, text=True, timeout=20).stdout


def why_not() -> str:
    """Why no machines can be made here; empty if they can."""
    try:
        _do(f"ip netns add {PREFIX}{os.getpid()}-try")
        _do(f"ip netns del {PREFIX}{os.getpid()}-try")
        _do("unshare --mount --uts --ipc --pid --fork --mount-proc mount -t tmpfs tmpfs /tmp")
    except (OSError, subprocess.SubprocessError) as error:
        return f"no network and mount namespaces can be made here: {getattr(error, 'stderr', '') or error}"
    return ""


class Network:
    """A bridge in a namespace of its own, so that this machine's own network is not touched."""

    def __init__(self) -> None:
        self.name = f"{PREFIX}{os.getpid()}"
        self._joined: list[str] = []

    def __enter__(self) -> Self:
        self._clear()
        _do(f"ip netns add {self.name}")
        _do(f"ip -n {self.name} link add bridge type bridge")
        _do(f"ip -n {self.name} link set bridge up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in [*self._joined, self.name]:
            _do(f"ip netns del {name}")

    def _clear(self) -> None:
        """Remove what a test that was killed has left."""
        for line in _do("ip netns list").splitlines():
            name = line.split()[0]
            number = name.removeprefix(PREFIX).partition("-")[0]
            if name.startswith(PREFIX) and number.isdigit() and not Path(f"/proc/{number}").exists():
                _do(f"ip netns del {name}")

    def join(self) -> tuple[str, str, str]:
        """A new namespace on the bridge, its address, and its port of the bridge."""
        number = len(self._joined) + 1
        name, port, address = f"{self.name}-{number}", f"port{number}", f"10.77.0.{number}"
        _do(f"ip netns add {name}")
        self._joined.append(name)
        _do(f"ip -n {name} link add eth0 type veth peer name {port} netns {self.name}")
        _do(f"ip -n {self.name} link set {port} master bridge up")
        _do(f"ip -n {name} address add {address}/24 dev eth0")
        for one in ("lo", "eth0"):
            _do(f"ip -n {name} link set {one} up")
        return name, address, port


class NetworkMachine:
    """A GPU worker on a machine that shares the folders `shared` with this one, and has copies of `copied`; nothing else of /tmp is there."""

    def __init__(
        self, network: Network, name: str, shared: Sequence[Path], copied: Sequence[Path], environment: Mapping[str, str], log: Path
    ) -> None:  # fmt: skip
        self.name, self._log, self._network = name, log, network
        self.namespace, self.address, self._port = network.join()
        order = {
            "name": name,
            "namespace": self.namespace,
            "shared": list(map(str, shared)),
            "copied": list(map(str, copied)),
        }
        self._environment = {**environment, "MACHINE_ADDRESS": self.address, ORDER: json.dumps(order)}
        self._process: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        _do(f"ip -n {self._network.name} link set {self._port} up")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.machines"],
                cwd=warm.ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def cut(self) -> None:
        """Cut its cable and its power: nothing of it says goodbye."""
        _do(f"ip -n {self._network.name} link set {self._port} down")
        self.end()

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def pids(self, argument: str) -> list[int]:
        """Its processes that have this argument, by their numbers outside of it."""
        found = []
        for number in map(int, _do(f"ip netns pids {self.namespace}").split()):
            try:
                arguments = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if argument.encode() in arguments:
                found.append(number)
        return found


@contextmanager
def machines(
    names: Sequence[str], shared: Sequence[Path], copied: Sequence[Path], environment: Mapping[str, str], logs: Path
) -> Iterator[list[NetworkMachine]]:
    """GPU workers that have been started, each on a machine of its own. Skips the test where none can be made."""
    if reason := why_not():
        pytest.skip(reason)
    with Network() as network:
        made = [NetworkMachine(network, one, shared, copied, environment, logs / f"{one}.log") for one in names]
        try:
            for one in made:
                one.boot()
            yield made
        finally:
            for one in made:
                one.end()


# In the machine


def _call(name: str, *arguments: int) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        raise OSError(ctypes.get_errno(), f"{name} failed")


def _die_with_parent() -> None:
    _call("prctl", 1, signal.SIGKILL, 0, 0, 0)


def main() -> None:
    order = json.loads(os.environ.pop(ORDER))
    _die_with_parent()
    with Path(f"/run/netns/{order['namespace']}").open() as namespace:
        _call("setns", namespace.fileno(), NEWNET)
    _call("unshare", NEWNS | NEWUTS | NEWIPC | NEWPID)
    if first := os.fork():
        os.waitpid(first, 0)
        return
    _die_with_parent()
    socket.sethostname(order["name"])
    _mount(order["shared"], order["copied"])
    os.environ["LONGHAND_TESTS"] = "/tmp/warm"
    Path("/tmp/warm").mkdir()
    serve = _warm_server()
    if serve is not None:
        warm.become(serve)
    _keep()


def _mount(shared: Sequence[str], copied: Sequence[str]) -> None:
    _do("mount --make-rprivate /")
    _do("mount -t proc proc /proc")
    _do("mount -t tmpfs tmpfs /mnt")
    folders = [*shared, *copied]
    for number, path in enumerate(folders):
        Path(f"/mnt/{number}").mkdir()
        _do(f"mount --bind {path} /mnt/{number}")
    for path in ("/tmp", "/dev/shm"):
        _do(f"mount -t tmpfs tmpfs {path}")
    for number, path in enumerate(folders):
        Path(path).mkdir(parents=True)
        _do(f"mount --bind /mnt/{number} {path}" if path in shared else f"cp -r /mnt/{number}/. {path}")
    _do("umount --recursive /mnt")


def _warm_server() -> dict[str, object] | None:
    """Fork a warm server for the machine; None in this process, an order in each process that the server forks."""
    from torch.distributed.elastic.rendezvous import dynamic_rendezvous

    # For its log it looks through all modules at each step, which takes ten seconds where all of ours have been imported.
    dynamic_rendezvous.get_method_name = lambda *_: "rendezvous"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(warm.address())
    listener.listen(64)
    life, _ours = os.pipe()
    if os.fork():
        listener.close()
        return None
    return warm.serve(listener, life)


def _keep() -> None:
    import django

    django.setup()
    from workers.jobs.keeper import Keeper

    keeper = Keeper()
    while True:
        for work in (keeper._heartbeat, keeper._runs):
            keeper.attempt(work)
        time.sleep(0.5)


if __name__ == "__main__":
    main()
