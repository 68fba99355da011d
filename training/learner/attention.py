"""Causal attention for training, without masks, for packed stories and for padded rows.

It is registered with transformers under the name `ATTENTION`, without a mask function, so that a model gets no mask:

- packed stories, [1, T] with `stories`, their lengths: each story attends to itself only;
- rows, [B, T] padded on the right: no token attends to the padding, because attention is causal.

There is no dense mask of T x T, so that 16,384 tokens of packed stories cost no more than the stories one by one.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface

from training.common.errors import MendableError

ATTENTION = "longhand"


def attend(
    _module: torch.nn.Module,
    query_BHTD: torch.Tensor,
    key_BKTD: torch.Tensor,
    value_BKTD: torch.Tensor,
    _mask: None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    stories: tuple[int, ...] | None = None,
    **_others: Any,
) -> tuple[torch.Tensor, None]:
    """Return the attention's output, [B, T, H, D]; H query heads share K key heads. `stories` are the lengths of packed stories.

    Raises MendableError for a text longer than the model's attention window.
    """
    longest = max(stories) if stories else query_BHTD.shape[2]
    if sliding_window and longest > sliding_window:
        raise MendableError(
            f"The model attends within {sliding_window} tokens only, and a text has {longest}: set context to {sliding_window}."
        )
    grouped = query_BHTD.shape[1] != key_BKTD.shape[1]
    if stories and len(stories) > 1:
        parts = [torch.split(part, list(stories), dim=2) for part in (query_BHTD, key_BKTD, value_BKTD)]
        out_BHTD = torch.cat([_causal(q, k, v, scaling, dropout, grouped) for q, k, v in zip(*parts)], dim=2)
    else:
        out_BHTD = _causal(query_BHTD, key_BKTD, value_BKTD, scaling, dropout, grouped)
    return out_BHTD.transpose(1, 2), None


def _causal(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None, dropout: float, grouped: bool
) -> torch.Tensor:
    return F.scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=scaling, dropout_p=dropout, enable_gqa=grouped
    )


AttentionInterface.register(ATTENTION, attend)
