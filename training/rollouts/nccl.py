"""Weights between GPUs by vLLM's own NCCL transfer (vllm.distributed.weight_transfer). NOT YET RUN: no machine with two GPUs and vLLM was at hand.

The server is started with `--weight-transfer-config '{"backend":"nccl"}'`. The learner's first process is rank 0 of a group of its own with the server's
workers, and broadcasts; an HTTP call, which has a time limit, tells the server to receive. The NCCL call itself has no limit: it runs on a thread of its own,
and when the time is over the run ends with an error, since the state of a group that hangs cannot be known.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import torch

from training.common.errors import MendableError
from training.rollouts.client import TokenClient
from training.rollouts.sync import SECONDS, PausedServer, Weights
from training.serving.process import free_port


class Nccl:
    """Transfers all weights. A server that died would need a new group, so the run ends then; the same command resumes it."""

    def __init__(self, workers: int, address: str) -> None:
        """`workers` are the GPUs of the server, and `address` is this machine's, at which the server reaches it."""
        self._workers, self._address = workers, address
        self.weights: Weights = {}
        self._engine: Any = None

    def put(self, weights: Weights) -> None:
        self.weights = weights

    async def load(self, client: TokenClient) -> str:
        async with PausedServer(client):
            try:
                await asyncio.wait_for(asyncio.to_thread(self._send, client), SECONDS)
            except TimeoutError:
                raise MendableError(
                    f"The weights did not reach the rollout server by NCCL within {SECONDS:.0f} seconds."
                ) from None
        return ""

    def close(self) -> None:
        self._engine = None

    def _send(self, client: TokenClient) -> None:
        from vllm.distributed.weight_transfer.clients import HTTPVLLMWeightSyncClient
        from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

        if self._engine is None:
            info = NCCLTrainerInitInfo(
                master_address=self._address, master_port=free_port(), world_size=self._workers + 1
            )
            url = str(client.url)
            self._engine = WeightTransferTrainerFactory.trainer_init(
                info, client=HTTPVLLMWeightSyncClient(url), source=_Source(self)
            )
        self._engine.send_weights()

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        for name, one in self.weights.items():
            yield name, one.to(device).contiguous()


class _Source:
    """The weights as vLLM's engine takes them: names and shapes, and then, in the same order, the tensors."""

    def __init__(self, owner: Nccl) -> None:
        self._owner = owner

    def metadata(self) -> list[Any]:
        from vllm.distributed.weight_transfer.base import ParamMeta

        return [
            ParamMeta(name=name, dtype=one.dtype, shape=tuple(one.shape)) for name, one in self._owner.weights.items()
        ]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        return self._owner.tensors()
