"""Cross entropy on token streams: the loss of pretraining and of supervised fine-tuning."""

from __future__ import annotations

import torch


def nll(logprobs_N: torch.Tensor, weights_N: torch.Tensor) -> torch.Tensor:
    """Return the weighted negative log-likelihood in nats, summed over N learned tokens; divide it by the sum of the step's weights."""
    return -(logprobs_N * weights_N).sum()
