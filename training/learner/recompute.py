"""Gradient checkpointing that keeps what attention answered: the dearest thing to compute again, and the smallest to keep.

A layer's activations are forgotten after the forward pass and made again for the backward pass; the attention inside is not run a
second time, its first answer is put in its place (selective recomputation, arXiv 2205.05198). torch has contexts of the same kind,
which allow no other operation to differ between the two passes; ZeRO-3 frees and gathers weights in between, so these are ours.
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


def _alone(answer: Any) -> Any:
    """The same numbers without their history, which would keep the whole graph alive."""
    return tree_map_only(torch.Tensor, torch.Tensor.detach, answer)


class _Keep(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, answers: deque[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.answers = answers

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        if func in _KEPT:
            self.answers.append(_alone(answer))
        return answer


class _Replay(_Keep):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.answers.popleft() if func in _KEPT else func(*args, **(kwargs or {}))


def keeping_attention() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """The contexts of the forward and of the repeated pass of one layer, for torch.utils.checkpoint's `context_fn`."""
    answers: deque[Any] = deque()
    return _Keep(answers), _Replay(answers)
