"""Linear layers with adapters that are multiplied with once, in float32.

Peft multiplies with a layer's frozen weights and with its adapter, and adds the two outputs. Here the adapter is added to the weights first, which
costs no more than a few tokens: a third of the adapter's products and every pass over its output fall away. In bfloat16 the sum would round away what
the adapter has learned, and DeepSpeed's third stage has the weights in parts, so there peft's own way stays.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel


class _MergedLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input_BTI: torch.Tensor,
        weight_OI: torch.Tensor,
        down_RI: torch.Tensor,
        up_OR: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        ctx.save_for_backward(input_BTI, weight_OI, down_RI, up_OR)
        ctx.scale = scale
        return F.linear(input_BTI, torch.addmm(weight_OI, up_OR, down_RI, alpha=scale))

    @staticmethod
    def backward(
        ctx: Any, grad_BTO: torch.Tensor
    ) -> tuple[torch.Tensor | None, None, torch.Tensor, torch.Tensor, None]:
        input_BTI, weight_OI, down_RI, up_OR = ctx.saved_tensors
        grad_input = None
        if ctx.needs_input_grad[0]:  # the first layer's need not, because the embeddings are frozen
            grad_input = grad_BTO @ torch.addmm(weight_OI, up_OR, down_RI, alpha=ctx.scale)
        input_NI, grad_NO = input_BTI.flatten(0, -2), grad_BTO.flatten(0, -2)
        grad_down = ((grad_NO @ up_OR).T @ input_NI).mul_(ctx.scale)
        grad_up = (grad_NO.T @ (input_NI @ down_RI.T)).mul_(ctx.scale)
        return grad_input, None, grad_down, grad_up, None


def merge_in_products(model: PreTrainedModel) -> None:
    """Let every float32 linear layer of `model` that has an adapter of peft's, without dropout, multiply with their sum."""
    from peft.tuners.lora import Linear

    for layer in model.modules():
        if isinstance(layer, Linear) and _is_plain(layer):
            layer.forward = partial(_forward, layer, layer.forward)  # type: ignore[method-assign]


def _is_plain(layer: Any) -> bool:
    adapters = [layer.lora_A, layer.lora_B, layer.lora_dropout]
    return (
        type(layer.base_layer) is nn.Linear
        and all(len(one) == 1 for one in adapters)
        and not any(isinstance(one, nn.Dropout) for one in layer.lora_dropout.values())
        and not layer.lora_variant
        and all(one.dtype == torch.float32 for one in layer.parameters())
    )


def _forward(layer: Any, peft_forward: Any, inputs: torch.Tensor) -> torch.Tensor:
    if layer.disable_adapters or layer.merged:
        out: torch.Tensor = peft_forward(inputs)
        return out
    (down,), (up,), (scale,) = layer.lora_A.values(), layer.lora_B.values(), layer.scaling.values()
    base = layer.base_layer
    out = _MergedLinear.apply(inputs, base.weight, down.weight, up.weight, scale)  # type: ignore[no-untyped-call]
    return out if base.bias is None else out + base.bias
