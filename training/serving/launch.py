"""Start vLLM's own server on a processor, with its arguments: `python -m training.serving.launch --model ...`. Three faults of it are mended.

vLLM's processes wait for each other in loops of `sched_yield`. Where they fill all cores, Linux from 6.18 on then lets the
other programs of the machine wait too, for seconds. With `time.sleep(0)`, which vLLM itself takes for older Pythons, they wait as
quickly and leave the core to others.

Its adapters on processors copy an adapter's weights for each token, those without an adapter too, whom they then give the weights of the
last one (their index is -1). Here each adapter's tokens are multiplied at once, and the others left alone.

Where a prompt with a seed is read in several steps, vLLM takes back the random numbers of those before the last by an offset, which the
generators of processors do not have, and all of it ends. Here they begin anew, since nothing was kept of what they gave.

On processors it overrides VLLM_WORKER_MULTIPROC_METHOD and starts its engine anew. Here the engine is forked if the variable says "fork", which
saves a third of the time until it answers, all of it imports: the tests set it. The worker is always started anew, since OpenMP reads how
many threads it may have when it is loaded.

A process that is started anew imports this module first, since multiprocessing does so; a forked one has it.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
from typing import Any

import torch
from vllm.distributed import utils
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.v1.engine import utils as engines

utils.USE_SCHED_YIELD = False
if os.environ.get("VLLM_WORKER_MULTIPROC_METHOD") == "fork":
    engines.get_mp_context = lambda: multiprocessing.get_context("fork")


class _Generator(torch.Generator):
    def get_offset(self) -> int:
        return 0

    def set_offset(self, offset: int) -> torch.Generator:  # noqa: ARG002
        return self.manual_seed(self.initial_seed())


torch.Generator = _Generator  # type: ignore[misc]
_update = PunicaWrapperCPU.update_metadata


def _update_metadata(self: Any, *args: Any, **named: Any) -> None:
    """Before a step in which other texts are written than in the last: `adapters` are those at work and the tokens of each."""
    _update(self, *args, **named)
    indices = self.token_lora_indices
    self.adapters = [
        (place, (indices == place).nonzero().squeeze(1)) for place in indices.unique().tolist() if place >= 0
    ]


def _add_lora_linear(
    self: Any,
    y: torch.Tensor,
    x: torch.Tensor,
    lora_a_stacked: tuple[torch.Tensor, ...],
    lora_b_stacked: tuple[torch.Tensor, ...],
    scale: float,
    output_slices: tuple[int, ...],
    **_: Any,
) -> None:
    """Adds x A^T B^T to y, [T, in] to [T, out], for the tokens of each adapter; A is [places, 1, rank, in], B [places, 1, slice, rank]."""
    for place, tokens in self.adapters:
        own, begin = x[tokens].float(), 0
        for a, b, size in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
            change = own @ a[place, 0].float().T @ b[place, 0].float().T
            y[tokens, begin : begin + size] += (scale * change[:, :size]).to(y.dtype)
            begin += size


PunicaWrapperCPU.adapters = []
PunicaWrapperCPU.update_metadata = _update_metadata
PunicaWrapperCPU.add_lora_linear = _add_lora_linear

if __name__ == "__main__":
    runpy.run_module("vllm.entrypoints.launchers.api_server.entry", run_name="__main__", alter_sys=False)
