"""Log-probabilities of given tokens from hidden states, without the logits of a whole story in memory.

The logits of a story of 12,000 words are 16 GB with a vocabulary of 248,320. Here they are computed for a few tokens at a time, reduced to one
number per token and discarded. Only this step is fused, and no loss: objectives are functions of log-probabilities.

The backward pass computes the logits again, because the head's gradient needs the loss. Where the head is frozen, as with adapters, the forward pass
computes the gradient of each log-probability in the hidden states at once, which is all that the backward pass needs: a third of the work less.
"""

from __future__ import annotations

from typing import Any

import torch

TILE, GPU_TILE = 2**26, 2**29
"""Logits in memory at once, on a processor and on a GPU. 2**26 are 256 MB of float32, about 2,000 tokens of a vocabulary of 32,000. A GPU adds a tile's
gradient to that of the whole head, which takes as long as the arithmetic of hundreds of tokens: 2**29 are 2,162 tokens of a vocabulary of 248,320."""


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        targets_N: torch.Tensor,
        tile: int,
        temperature: float,
    ) -> torch.Tensor:
        logprobs_N = hidden_ND.new_empty(len(targets_N), dtype=torch.float32)
        lse_N = torch.empty_like(logprobs_N)
        to_hidden, to_weight = ctx.needs_input_grad[:2]
        ctx.frozen = to_hidden and not to_weight
        slopes_ND = torch.empty_like(hidden_ND) if ctx.frozen else None
        for part in _parts(len(targets_N), len(weight_VD), tile):
            logits_nV = _logits(hidden_ND[part], weight_VD, temperature)
            greatest_n1 = logits_nV.amax(1, keepdim=True)
            targets_n1 = logits_nV.gather(1, targets_N[part, None]) - greatest_n1
            exponentials_nV = logits_nV.sub_(greatest_n1).exp_()
            sums_n1 = exponentials_nV.sum(1, keepdim=True)
            log_sums_n1 = sums_n1.log()
            lse_N[part] = (greatest_n1 + log_sums_n1)[:, 0]
            logprobs_N[part] = (targets_n1 - log_sums_n1)[:, 0]
            if slopes_ND is not None:
                slopes_nV = _slopes(exponentials_nV.div_(-sums_n1), targets_N[part], temperature)
                torch.mm(slopes_nV.to(hidden_ND.dtype), weight_VD, out=slopes_ND[part])
        if slopes_ND is not None:
            ctx.save_for_backward(slopes_ND)
        else:
            ctx.save_for_backward(hidden_ND, weight_VD, targets_N, lse_N)
        ctx.tile, ctx.temperature = tile, temperature
        return logprobs_N

    @staticmethod
    def backward(ctx: Any, grad_N: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None, None]:
        if ctx.frozen:
            (slopes_ND,) = ctx.saved_tensors
            return (slopes_ND * grad_N[:, None]).to(slopes_ND.dtype), None, None, None, None
        hidden_ND, weight_VD, targets_N, lse_N = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden_ND) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight_VD, dtype=torch.float32)
        for part in _parts(len(targets_N), len(weight_VD), ctx.tile):
            hidden_nD = hidden_ND[part]
            logits_nV = _logits(hidden_nD, weight_VD, ctx.temperature)
            negative_nV = logits_nV.sub_(lse_N[part, None]).exp_().neg_()
            slopes_nV = _slopes(negative_nV, targets_N[part], ctx.temperature)
            grad_nV = slopes_nV.mul_(grad_N[part, None]).to(hidden_ND.dtype)
            if grad_hidden is not None:
                torch.mm(grad_nV, weight_VD, out=grad_hidden[part])
            grad_weight += grad_nV.T @ hidden_nD
        return grad_hidden, grad_weight.to(weight_VD.dtype), None, None, None


def _slopes(negative_nV: torch.Tensor, targets_n: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return d log p(target) / d logit_v = ([v = target] - p(v)) / temperature in the memory of -p, [n, V], float32."""
    negative_nV.scatter_add_(1, targets_n[:, None], negative_nV.new_ones((len(targets_n), 1)))
    return negative_nV if temperature == 1 else negative_nV.div_(temperature)


def _logits(hidden_nD: torch.Tensor, weight_VD: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the logits divided by the temperature, [n, V], float32."""
    logits_nV = (hidden_nD @ weight_VD.T).float()
    return logits_nV if temperature == 1 else logits_nV.div_(temperature)


def _parts(tokens: int, vocabulary: int, tile: int) -> list[slice]:
    """Return slices of the tokens, of even size, whose logits fit in a tile."""
    count = -(-tokens * vocabulary // tile) or 1
    size = -(-tokens // count) or 1
    return [slice(first, first + size) for first in range(0, tokens, size)]


def token_logprobs(
    hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    targets_N: torch.Tensor,
    tile: int = 0,
    *,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Return log p(targets_N[i]) under softmax(hidden_ND[i] @ weight_VD.T / temperature), [N], in nats, float32; differentiable in both matrices."""
    tile = tile or (GPU_TILE if hidden_ND.is_cuda else TILE)
    logprobs_N: torch.Tensor = _TokenLogprobs.apply(hidden_ND, weight_VD, targets_N, tile, temperature)  # type: ignore[no-untyped-call]
    return logprobs_N
