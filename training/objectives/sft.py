"""Cross entropy on token streams: the loss of pretraining and of supervised fine-tuning."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from transformers import Qwen3ForCausalLM


def nll(logprobs_N: torch.Tensor, weights_N: torch.Tensor) -> torch.Tensor:
    """Weighted negative log-likelihood in nats, summed over N learned tokens; divide by the sum of weights of the whole step."""
    return -(logprobs_N * weights_N).sum()


def summed_loss(model: Qwen3ForCausalLM, tokens_BT: torch.Tensor, weights_BT: torch.Tensor) -> torch.Tensor:
    """Weighted cross entropy in nats, summed over the learned tokens; divide by the token count of the whole step.

    The demo model's own path. The output head sees the learned positions only: half of a landing's tokens are given, and their
    logits would be waste.
    """
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden_BTD = model.model(input_ids=tokens_BT, use_cache=False).last_hidden_state
        learned_BT = weights_BT[:, 1:] > 0
        logits_NV = model.lm_head(hidden_BTD[:, :-1][learned_BT])
    losses_N = F.cross_entropy(logits_NV.float(), tokens_BT[:, 1:][learned_BT], reduction="none")
    return (losses_N * weights_BT[:, 1:][learned_BT]).sum()
