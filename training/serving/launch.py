"""Start vLLM's own server on a processor, with its arguments: `python -m training.serving.launch --model ...`, with four bugs fixed.

vLLM's processes wait for each other in loops of `sched_yield`. If they occupy all cores, Linux from 6.18 on also makes the other
programs of the machine wait for seconds. With `time.sleep(0)`, which vLLM itself uses for older Pythons, they wait as briefly and
release the core.

On processors, its LoRA code copies an adapter's weights for each token, and applies the last adapter to tokens without one (their index
is -1). Here the tokens of each adapter are multiplied together, and tokens without one are not changed.

When weights are reloaded in place, it packs each matrix for the processor again, except an output head that is tied to the embedding: the
head of the first weights would go on. Here it is packed again, too.

If a prompt with a seed is read in several steps, vLLM resets the random numbers of all steps before the last by an offset, which CPU
generators do not support, so that vLLM crashes. Here the generators are seeded again, since none of their numbers were used.

On processors it overrides VLLM_WORKER_MULTIPROC_METHOD and spawns its engine and its worker. Here they are forked if the variable says
"fork", which saves half of the start-up time, all of it imports; the tests set it. OpenMP reads its number of threads when it is loaded, so
that a forked worker has that of the environment.

Each spawned process imports this module first, since multiprocessing does so; a forked one has it already.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
from typing import Any

import torch
from vllm.distributed import utils
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
from vllm.model_executor.model_loader.reload import inplace
from vllm.v1.engine import utils as engines
from vllm.v1.executor import multiproc_executor

utils.USE_SCHED_YIELD = False
if os.environ.get("VLLM_WORKER_MULTIPROC_METHOD") == "fork":
    for module in (engines, multiproc_executor):
        module.get_mp_context = lambda: multiprocessing.get_context("fork")


class _Generator(torch.Generator):
    def get_offset(self) -> int:
        return 0

    def set_offset(self, offset: int) -> torch.Generator:  # noqa: ARG002
        return self.manual_seed(self.initial_seed())


torch.Generator = _Generator  # type: ignore[misc]
_update = PunicaWrapperCPU.update_metadata


def _update_metadata(self: Any, *args: Any, **named: Any) -> None:
    """Set the active adapters, and the tokens of each, before a step with other texts than the last one."""
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
    """Add x A^T B^T to y, [T, in] to [T, out], for the tokens of each adapter; A is [places, 1, rank, in], B [places, 1, slice, rank]."""
    for place, tokens in self.adapters:
        own, begin = x[tokens].float(), 0
        for a, b, size in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
            change = own @ a[place, 0].float().T @ b[place, 0].float().T
            y[tokens, begin : begin + size] += (scale * change[:, :size]).to(y.dtype)
            begin += size


PunicaWrapperCPU.adapters = []
PunicaWrapperCPU.update_metadata = _update_metadata
PunicaWrapperCPU.add_lora_linear = _add_lora_linear

_finalize = inplace.finalize_layerwise_reload


def _finalize_and_pack_heads(model: torch.nn.Module, *args: Any, **named: Any) -> None:
    _finalize(model, *args, **named)
    for module in model.modules():
        if isinstance(module, VocabParallelEmbedding) and hasattr(module, "cpu_linear"):
            dispatch_cpu_unquantized_gemm(module, remove_weight=False)


inplace.finalize_layerwise_reload = _finalize_and_pack_heads

if __name__ == "__main__":
    runpy.run_module("vllm.entrypoints.launchers.api_server.entry", run_name="__main__", alter_sys=False)
