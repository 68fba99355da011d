"""Weights from the learner to the server that writes its rollouts.

    put(weights)     the learner's, as they are now
    load(client)     1. hold the server's requests
                     2. hand the weights over
                     3. forget cached prompts, which older weights computed
                     4. let the requests go on
    check(...)       the server's log-probabilities of a fixed text must be the learner's

`load` may come again with the same weights: a server that died and was started again has those that it began with.

Three ways to hand over: files in the machine's shared memory that the server reloads in place, LoRA adapters likewise, and vLLM's own NCCL transfer
between GPUs. Every wait has an end. A server that fails at any point is `Away`; one that computes something else than the learner is `Astray`: it would
write stories that nobody's policy wrote, and the run stops rather than learn from them.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import save_file

from training.common.errors import MendableError
from training.config.learner import Lora
from training.rollouts.client import TokenClient
from training.rollouts.records import Logprobs, Tokens

SECONDS = 600.0
SHARED = Path("/dev/shm")  # noqa: S108 - folders in it are made by mkdtemp
PREFIX = "longhand-weights-"
JUST_MADE = 60.0
"""Seconds in which a folder may not be locked yet."""
POLICY = "policy"
"""What the server calls the adapter that learns."""
Weights = Mapping[str, torch.Tensor]


class Astray(MendableError):
    """Server and learner do not compute the same."""


class Sync(Protocol):
    model: str
    """What requests call the policy; nothing where that is the server's own model."""

    def put(self, weights: Weights) -> None: ...
    async def load(self, client: TokenClient) -> None: ...
    def close(self) -> None: ...


class SharedFolder:
    """In the machine's memory where it has such a place; weights that pass through it are the learner's alone.

    A learner that was killed cannot take its folder away, and all weights of a model lie in it: whoever comes next does. Each is locked by its
    process, which the kernel undoes with it.
    """

    def __init__(self) -> None:
        base = SHARED if SHARED.is_dir() else Path(tempfile.gettempdir())
        for other in base.glob(f"{PREFIX}*"):
            _forget_if_left(other)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        self._lock = os.open(self.path, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _forget_if_left(folder: Path) -> None:
    with suppress(OSError):  # it is somebody else's, in use, or gone meanwhile
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - folder.stat().st_mtime > JUST_MADE:
                shutil.rmtree(folder)
        finally:
            os.close(lock)


class Held:
    """`async with`: no request moves while weights change, and none goes on from what older weights computed."""

    def __init__(self, client: TokenClient) -> None:
        self._client = client

    async def __aenter__(self) -> None:
        await self._client.tell("/pause?mode=keep", seconds=SECONDS)

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self._client.tell("/reset_prefix_cache", seconds=SECONDS)
            await self._client.tell("/resume", seconds=SECONDS)


class SharedMemory:
    """All weights as safetensors, reloaded in place by the server's own loader. For a server on this machine, with a GPU or without."""

    model = ""

    def __init__(self) -> None:
        self._folder = SharedFolder()

    def put(self, weights: Weights) -> None:
        _write(weights, self._folder.path / "model.safetensors")

    async def load(self, client: TokenClient) -> None:
        async with Held(client):
            order: dict[str, Any] = {
                "method": "reload_weights",
                "kwargs": {"weights_path": str(self._folder.path)},
                "timeout": SECONDS,
            }
            await client.tell("/collective_rpc", order, seconds=SECONDS)

    def close(self) -> None:
        self._folder.close()


class Adapter:
    """The adapter alone, in peft's layout; the server keeps the model's own weights."""

    model = POLICY

    def __init__(self, lora: Lora, model: Path) -> None:
        self._folder = SharedFolder()
        config = {
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": lora.rank, "lora_alpha": lora.alpha, "lora_dropout": 0.0, "bias": "none",
            "target_modules": "all-linear", "base_model_name_or_path": model.name, "inference_mode": True,
        }  # fmt: skip
        (self._folder.path / "adapter_config.json").write_text(json.dumps(config), "utf-8")

    def put(self, weights: Weights) -> None:
        _write(weights, self._folder.path / "adapter_model.safetensors")

    async def load(self, client: TokenClient) -> None:
        async with Held(client):
            order = {"lora_name": POLICY, "lora_path": str(self._folder.path), "load_inplace": True}
            await client.tell("/v1/load_lora_adapter", order, seconds=SECONDS)

    def close(self) -> None:
        self._folder.close()


def _write(weights: Weights, path: Path) -> None:
    """Whole or not at all: a server may be reading the file that is there."""
    fresh = path.with_suffix(".writing")
    save_file(
        {name: one.detach().cpu().contiguous() for name, one in weights.items()}, fresh, metadata={"format": "pt"}
    )
    fresh.rename(path)


def check(server: Logprobs, learner: Logprobs, bound: float) -> float:
    """The mean distance between two computations of the same log-probabilities, in nats; raises Astray where it is more than `bound`.

    A server that kept one old matrix is off by 0.2 and more; two kernels in bfloat16 by 0.003 (stack.md 2).
    """
    apart = float(np.abs(server.astype(np.float64) - learner.astype(np.float64)).mean())
    if not apart <= bound:
        raise Astray(
            f"After the weights were handed over, the server's log-probabilities are {apart:.4f} nats a token from the learner's, and {bound:g} are "
            "allowed. Usual causes: a model whose embeddings are tied to its head (on processors the server keeps the old head), a server with other "
            "settings than the run's, or a precision in which the two differ that much (`rollouts.agreement` in the settings)."
        )
    return apart


def fixed_text(vocabulary: int, tokens: int = 256) -> Tokens:
    """Tokens that every check reads: chance, but always the same, so that all of the embedding and the head takes part."""
    return np.random.default_rng(0).integers(0, vocabulary, tokens).astype(np.int32)
