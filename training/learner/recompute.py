"""Gradient checkpointing that keeps the outputs of attention, which are expensive to recompute and small.

A layer's activations are discarded after the forward pass and recomputed for the backward pass, but its attention is not run a second time: the
first output is used again (selective recomputation, arXiv 2205.05198). torch's own contexts for this require the two passes to run the same
operations; under ZeRO-3 they do not, because it frees and gathers weights in between.
"""

from __future__ import annotations

from collections import deque
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

_KEPT = {
    getattr(torch.ops.aten, name).default
    for name in (
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_cudnn_attention",
        "_flash_attention_forward",
    )
}


class _Keep(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, outputs: deque[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.outputs = outputs

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func in _KEPT:  # detached, because the output's graph would keep all activations alive
            self.outputs.append(tree_map_only(torch.Tensor, torch.Tensor.detach, output))
        return output


class _Replay(_Keep):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.outputs.popleft() if func in _KEPT else func(*args, **(kwargs or {}))


def keep_attention_outputs() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Return the contexts of a layer's forward and recomputation passes, for `context_fn` of torch.utils.checkpoint."""
    outputs: deque[Any] = deque()
    return _Keep(outputs), _Replay(outputs)
