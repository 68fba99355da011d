"""Start vLLM's own server on a processor, with its arguments: `python -m workers.serving.launch --model ...`, and two faults of it mended.

vLLM's processes wait for each other in loops of `sched_yield`. Where they fill all cores, Linux from 6.18 on then lets the
other programs of the machine wait too, for seconds. With `time.sleep(0)`, which vLLM itself takes for older Pythons, they wait as
quickly and leave the core to others. And a text that is to be written without an adapter, beside one that has one, has the index -1,
by which torch takes the weights of the last adapter; vLLM's kernels for GPUs know what it means, those for processors do not.

Each of vLLM's processes imports this module first, since multiprocessing does so.
"""

from __future__ import annotations

import runpy

import torch
from vllm.distributed import utils
from vllm.lora.ops import torch_ops
from vllm.lora.ops.torch_ops import lora_ops

utils.USE_SCHED_YIELD = False

_shrink = lora_ops.bgmv_shrink


def _shrink_with_adapter(
    inputs: torch.Tensor, weights: torch.Tensor, output: torch.Tensor, indices: torch.Tensor, scaling: float = 1.0
) -> None:
    """[T, in] to [T, rank], where it is nothing for a token without an adapter; so is what is made of it."""
    _shrink(inputs * (indices >= 0).unsqueeze(1), weights, output, indices, scaling)


lora_ops.bgmv_shrink = torch_ops.bgmv_shrink = _shrink_with_adapter

if __name__ == "__main__":
    runpy.run_module("vllm.entrypoints.launchers.api_server.entry", run_name="__main__", alter_sys=False)
