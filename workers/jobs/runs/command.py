"""Starts the training of a run. Neither its argument list nor its environment contains input from a form: settings are passed in a file.

The processes of a run on several machines meet in one rendezvous of torchrun (c10d), at a port of the machine that leads the run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from training.common.heap import UNBROKEN
from workers import processes
from workers.jobs.runs import rewards, stages
from workers.machine import address, interface_of
from workers.processes import tag
from writer.studio.models import Run
from writer.studio.registry import DECLARED

_PASSED_ON = (
    "PATH", "PYTHONPATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_HOME", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF",
    "NCCL_SOCKET_IFNAME", "NCCL_IB_HCA", "NCCL_DEBUG", "GLOO_SOCKET_IFNAME", "OMP_NUM_THREADS", "XDG_CACHE_HOME", "TORCH_EXTENSIONS_DIR",
    "TRITON_CACHE_DIR", "SSL_CERT_FILE", "SSL_CERT_DIR",
    *(name for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY") for name in (proxy, proxy.lower())),
)  # fmt: skip


class Meeting(NamedTuple):
    """How a machine's part of a run finds the others': the number of machines, the rendezvous and its id, whether this machine holds it, and
    the address at which the others reach this one."""

    nodes: int
    endpoint: str
    id: str
    leads: bool
    address: str


def start(run: Run, settings: Path, folder: Path, machine: str) -> subprocess.Popen[bytes]:
    """Start the run's part on this machine, which has this name, with its output in `folder`; `settings` is the file that the recipe reads."""
    held = list(run.gpus_held.filter(machine__name=machine).order_by("index").values_list("index", "memory"))
    numbers = [index for index, memory in held] if any(memory for _, memory in held) else None
    meeting = None
    if run.nodes > 1:
        assert run.machine is not None
        leads = run.machine.name == machine
        meeting = Meeting(run.nodes, run.meeting["endpoint"], run.meeting["id"], leads, address())
    given = (sockets(meeting.address) if meeting else {}) | environment(folder, numbers)
    if DECLARED[run.recipe].has_group("teacher"):
        given |= stages.key()
    if DECLARED[run.recipe].has_group("rewards"):
        given |= rewards.keys()
    return processes.start(command(run.recipe, settings, run.gpus if numbers else 1, meeting), given, folder)


def command(recipe: str, settings: Path, gpus: int, meeting: Meeting | None = None) -> list[str]:
    """The command that starts `gpus` processes on this machine, or one for a stage; `settings` is the file that the recipe reads."""
    if recipe not in DECLARED:
        raise ValueError(f"there is no recipe {recipe!r}")
    if not settings.is_absolute():
        raise ValueError("the path of the settings file must be absolute")
    training = ["-m", "training", recipe, str(settings)]
    if meeting is None:
        if gpus <= 1:
            return [sys.executable, *training]
        launcher = ["--standalone", "--nproc_per_node", str(int(gpus))]
    else:
        launcher = [
            "--nnodes", str(meeting.nodes), "--nproc-per-node", str(int(gpus)), "--rdzv-backend", "c10d",
            "--rdzv-endpoint", meeting.endpoint, "--rdzv-id", meeting.id,
            # Otherwise torchrun guesses it from the host's name, which an address need not resolve to.
            "--rdzv-conf", f"is_host={str(meeting.leads).lower()}", "--local-addr", meeting.address,
        ]  # fmt: skip
    return [sys.executable, "-m", "torch.distributed.run", *launcher, *training]


def sockets(own: str) -> dict[str, str]:
    """The variables by which NCCL and gloo use the network of this machine's own address; none if no interface has it."""
    interface = interface_of(own)
    return {"NCCL_SOCKET_IFNAME": interface, "GLOO_SOCKET_IFNAME": interface} if interface else {}


def environment(folder: Path, gpus: Sequence[int] | None) -> dict[str, str]:
    """The environment of a run. `folder` is its folder, the tag of its processes; `gpus` are the GPUs that it may see, None without any."""
    given = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {
        **given,
        **(UNBROKEN if gpus is None else {}),
        **tag(folder),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{given.get('PATH', os.defpath)}",
        "CUDA_VISIBLE_DEVICES": ",".join(str(int(gpu)) for gpu in gpus) if gpus is not None else "",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
