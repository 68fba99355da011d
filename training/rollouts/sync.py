"""Transfers weights from the learner to its rollout server.

    put(weights)           stores the learner's weights as they are now
    load(client)           1. pauses the server's requests
                           2. transfers the weights
                           3. clears the prefix cache, which was computed with older weights
                           4. resumes the requests
    check_logprobs(...)    the server's log-probabilities of a fixed text must equal the learner's

`load` may be called again with the same weights, since a restarted server has those of its model.

There are three methods: files in the machine's shared memory, or in the run's folder for a server on another machine, that the server reloads in
place; LoRA adapters in the same way; and vLLM's NCCL transfer between GPUs. Every wait has a time limit. A server that fails at any point raises `ServerUnavailable`; one whose log-probabilities differ
from the learner's raises `LogprobMismatch`: its stories would not be the policy's, and the run stops rather than learn from them.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from training.common.errors import MendableError
from training.config.learner import Lora
from training.learner.names import adapter_weights, source_weights
from training.rollouts.client import TokenClient
from training.rollouts.records import Logprobs
from training.rollouts.settings import GroupSettings

SECONDS = 600.0
SHARED = Path("/dev/shm")  # noqa: S108 - folders in it are made by mkdtemp
PREFIX = "longhand-weights-"
JUST_MADE = 60.0
"""Seconds in which a new folder may not be locked yet."""
Weights = Mapping[str, torch.Tensor]


class LogprobMismatch(MendableError):
    """Server and learner do not compute the same log-probabilities."""


class Sync(Protocol):
    def put(self, weights: Weights) -> None: ...
    async def load(self, client: TokenClient) -> str:
        """Transfer the weights. Returns the name of the policy in requests, empty if it is the server's own model."""

    def close(self) -> None: ...


class SharedFolder:
    """A folder in the machine's shared memory, if there is one, or in `base`; only the learner's user may read it.

    A learner that was killed cannot remove its folder, which holds all weights of a model, so the next learner does. Each folder is locked by its
    process; the kernel releases the lock when the process ends.
    """

    def __init__(self, base: Path | None = None) -> None:
        base = base or (SHARED if SHARED.is_dir() else Path(tempfile.gettempdir()))
        base.mkdir(parents=True, exist_ok=True)
        for other in base.glob(f"{PREFIX}*"):
            _remove_if_abandoned(other)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        self._lock = os.open(self.path, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove_if_abandoned(folder: Path) -> None:
    with suppress(OSError):  # it belongs to another user, is in use, or was removed meanwhile
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - folder.stat().st_mtime > JUST_MADE:
                shutil.rmtree(folder)
        finally:
            os.close(lock)


class PausedServer:
    """A context in which requests are paused while weights change; the cache of older weights is cleared."""

    def __init__(self, client: TokenClient) -> None:
        self._client = client

    async def __aenter__(self) -> None:
        await self._client.command("/pause?mode=keep", seconds=SECONDS)

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self._client.command("/reset_prefix_cache", seconds=SECONDS)
            await self._client.command("/resume", seconds=SECONDS)


class SharedMemory:
    """Transfers all weights as safetensors, which the server's own loader reloads in place. The server sees the folder, and has a GPU or none."""

    def __init__(self, base: Path | None = None) -> None:
        self._folder = SharedFolder(base)

    def put(self, weights: Weights) -> None:
        _write(weights, self._folder.path / "model.safetensors")

    async def load(self, client: TokenClient) -> str:
        async with PausedServer(client):
            order: dict[str, Any] = {
                "method": "reload_weights",
                "kwargs": {"weights_path": str(self._folder.path)},
                "timeout": SECONDS,
            }
            await client.command("/collective_rpc", order, seconds=SECONDS)
        return ""

    def close(self) -> None:
        self._folder.close()


class Adapter:
    """Transfers the adapter alone, in peft's layout; the server keeps the model's own weights.

    Each time it gets a new name. One that vLLM (0.32) loads in place, under the same name, would be read from the disk again in every step of the
    server; and what its cache computed with the last weights would be used again. The policy unloads them.
    """

    def __init__(self, lora: Lora, model: Path, base: Path | None = None) -> None:
        self._folder = SharedFolder(base)
        config = {
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": lora.rank, "lora_alpha": lora.alpha, "lora_dropout": 0.0, "bias": "none",
            "target_modules": "all-linear", "base_model_name_or_path": model.name, "inference_mode": True,
        }  # fmt: skip
        self._numbers = count()
        (self._folder.path / "adapter_config.json").write_text(json.dumps(config), "utf-8")

    def put(self, weights: Weights) -> None:
        _write(weights, self._folder.path / "adapter_model.safetensors")

    async def load(self, client: TokenClient) -> str:
        name = f"{self._folder.path.name}-{next(self._numbers)}"
        async with PausedServer(client):
            order = {"lora_name": name, "lora_path": str(self._folder.path)}
            await client.command("/v1/load_lora_adapter", order, seconds=SECONDS)
        return name

    def close(self) -> None:
        self._folder.close()


def _write(weights: Weights, path: Path) -> None:
    """Replace the file atomically, since a server may be reading it. A head that is tied to the embedding is written, too."""
    fresh = path.with_suffix(".writing")
    parts: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, one in weights.items():
        part = one.detach().cpu().contiguous()
        parts[name] = part.clone() if part.data_ptr() in seen else part  # safetensors refuses memory that is shared
        seen.add(part.data_ptr())
    save_file(parts, fresh, metadata={"format": "pt"})
    fresh.rename(path)


def check_logprobs(server: Logprobs, learner: Logprobs, tolerance: float) -> float:
    """The mean distance between two computations of the same log-probabilities, in nats; raises LogprobMismatch if it is above `tolerance`.

    A server that kept one old matrix is off by 0.2 and more; two kernels in bfloat16 by 0.003 (stack.md 2).
    """
    difference = float(np.abs(server.astype(np.float64) - learner.astype(np.float64)).mean())
    if not difference <= tolerance:
        raise LogprobMismatch(
            f"After the weights were transferred, the server's log-probabilities are {difference:.4f} nats a token from the learner's, and {tolerance:g} "
            "are allowed. Usual causes: a server to which an earlier run gave all weights (restart it), a server with other settings than the run's, "
            "or a precision in which the two differ that much (`rollouts.logprob_tolerance` in the settings)."
        )
    return difference


def make_sync(settings: GroupSettings) -> Sync:
    """The transfer method of the settings. Files go through the run's folder, which all see, if a server is on another machine."""
    urls = settings.rollouts.urls
    here = all(map(on_this_machine, urls))
    base = None if here else settings.run_dir / "checkpoints"  # they go when the run is over
    if settings.learner.lora:
        return Adapter(settings.learner.lora, settings.model, base)
    if settings.rollouts.sync == "nccl":
        from training.rollouts.nccl import Nccl

        return Nccl(settings.rollouts.tensor_parallel, address_towards(urls[0]) if urls else "127.0.0.1")
    return SharedMemory(base)


def on_this_machine(url: str) -> bool:
    """Whether the address is one of this machine: only those can be bound."""
    with suppress(OSError):
        for family, kind, _, _, address in socket.getaddrinfo(urlsplit(url).hostname, 0, type=socket.SOCK_DGRAM):
            with socket.socket(family, kind) as probe:
                probe.bind(address)
                return True
    return False


def address_towards(url: str) -> str:
    """This machine's address in the network of a server. Nothing is sent."""
    family, kind, _, _, address = socket.getaddrinfo(urlsplit(url).hostname, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])


def server_weights(weights: Weights, settings: GroupSettings, model: PreTrainedModel | None = None) -> Weights:
    """The learner's weights under the server's names: those of the folder that both read, if they loaded the learner's `model` from it."""
    own = {name.removeprefix("model."): one for name, one in weights.items()}
    if settings.learner.lora:
        return adapter_weights(own, model)
    return source_weights(own, model) if model else own
