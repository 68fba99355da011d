"""Machines of a test: network namespaces with processes, names, `/tmp` and `/dev/shm` of their own, joined by a bridge. Only root can make them."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import ROOT

GPU_WORKER = """
import django, time
django.setup()
from workers.jobs.keeper import Keeper
keeper = Keeper()
while True:
    for work in (keeper._heartbeat, keeper._runs):
        keeper.attempt(work)
    time.sleep(0.5)
"""
"""What its keeper does about runs, more often than usual."""


def _do(command: str) -> None:
    subprocess.run(shlex.split(command), check=True, capture_output=True, timeout=20)


def why_not() -> str:
    """Why no machines can be made here; empty if they can."""
    try:
        _do(f"ip netns add longhand-{os.getpid()}-try")
        _do(f"ip netns del longhand-{os.getpid()}-try")
        _do("unshare --mount --uts --pid --fork --mount-proc mount -t tmpfs tmpfs /tmp")
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error).encode()
        return f"no network and mount namespaces can be made here: {said.decode(errors='replace').strip()[:200]}"
    return ""


class Network:
    """A bridge in a namespace of its own, so that this machine's own network is not touched."""

    def __init__(self) -> None:
        self.name = f"lh{os.getpid()}"
        self.count = 0

    def __enter__(self) -> Network:
        _do(f"ip netns add {self.name}")
        _do(f"ip -n {self.name} link add bridge type bridge")
        _do(f"ip -n {self.name} link set bridge up")
        return self

    def __exit__(self, *_: object) -> None:
        for number in range(1, self.count + 1):
            _do(f"ip netns del {self.name}-{number}")
        _do(f"ip netns del {self.name}")

    def join(self) -> tuple[str, str]:
        """A new namespace on the bridge, and its address."""
        self.count += 1
        name, port, address = f"{self.name}-{self.count}", f"port{self.count}", f"10.77.0.{self.count}"
        _do(f"ip netns add {name}")
        _do(f"ip -n {name} link add eth0 type veth peer name {port} netns {self.name}")
        _do(f"ip -n {self.name} link set {port} master bridge up")
        _do(f"ip -n {name} address add {address}/24 dev eth0")
        for one in ("lo", "eth0"):
            _do(f"ip -n {name} link set {one} up")
        return name, address


class NetworkMachine:
    """A GPU worker on a machine that shares only the folders `shared`, and has copies of `copied`, with this one."""

    def __init__(
        self, network: Network, name: str, shared: Sequence[Path], copied: Sequence[Path], environment: dict[str, str], log: Path
    ) -> None:  # fmt: skip
        self.name, self.log = name, log
        self.namespace, self.address = network.join()
        self._environment = {**environment, "MACHINE_ADDRESS": self.address}
        self._bridge, self._port = network.name, f"port{network.count}"
        self._shared, self._copied = list(shared), list(copied)
        self._process: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        _do(f"ip -n {self._bridge} link set {self._port} up")
        steps = ["set -e", f"hostname {self.name}", "mount -t tmpfs tmpfs /mnt"]
        for number, path in enumerate([*self._shared, *self._copied]):
            steps += [f"mkdir /mnt/{number}", f"mount --bind {path} /mnt/{number}"]
        steps += ["mount -t tmpfs tmpfs /tmp", "mount -t tmpfs tmpfs /dev/shm"]
        for number, path in enumerate(self._shared):
            steps += [f"mkdir -p {path}", f"mount --bind /mnt/{number} {path}"]
        for number, path in enumerate(self._copied, len(self._shared)):
            steps += [f"mkdir -p {path}", f"cp -r /mnt/{number}/. {path}"]
        steps.append(f"exec {sys.executable} -c {shlex.quote(GPU_WORKER)}")
        argv = ["ip", "netns", "exec", self.namespace, "unshare", "--mount", "--uts", "--ipc", "--pid", "--mount-proc", "--kill-child", "--fork"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*argv, "sh", "-c", "\n".join(steps)],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def cut(self) -> None:
        """Cut its cable and its power: nothing of it says goodbye."""
        _do(f"ip -n {self._bridge} link set {self._port} down")
        self.end()

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def pids(self, argument: str) -> list[int]:
        """Its processes that have this argument, by their numbers on this machine, the oldest first."""
        listed = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=True)
        found = []
        for number in map(int, listed.stdout.split()):
            try:
                arguments = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if argument.encode() in arguments:
                found.append(number)
        return sorted(found)

    def kill(self, argument: str) -> None:
        for number in self.pids(argument):
            os.kill(number, signal.SIGKILL)


@contextmanager
def machines(
    names: Sequence[str], shared: Sequence[Path], copied: Sequence[Path], environment: dict[str, str], logs: Path
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
