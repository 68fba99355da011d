"""The module that learns: a language model that answers with log-probabilities of given tokens, or with one number a text."""

from __future__ import annotations

from typing import cast

import torch
from transformers import PreTrainedModel

from training.learner.batches import Batch
from training.objectives.logprobs import token_logprobs


class LogprobHead(torch.nn.Linear):
    """An output head that can answer for given tokens without making logits. Its weights and their names stay what they were.

    It is a module of its own so that DeepSpeed, which gathers weights when a module is called, gathers these as well.
    """

    def __init__(self, head: torch.nn.Linear) -> None:
        super().__init__(head.in_features, head.out_features, bias=False, device="meta")
        self.weight = head.weight

    def forward(self, hidden: torch.Tensor, targets_N: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(hidden) if targets_N is None else token_logprobs(hidden, self.weight, targets_N)


class Scorer(torch.nn.Module):
    """Wraps `model`, bare or with adapters, and reads batches. What it answers depends on the model's head:

    - a causal language model: the log-probabilities of the learned tokens, [N], float32;
    - a sequence classifier with one label, which is a reward model: a number for each text, [S], float32.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> torch.Tensor:
        bare = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        kwargs = {}
        if batch.ends is not None:
            kwargs = {"cu_seq_lens_q": batch.ends, "stories": batch.lengths, "seq_idx": batch.story_BT}
        hidden_BTD = bare.base_model(
            input_ids=batch.tokens_BT, position_ids=batch.positions_BT, use_cache=False, **kwargs
        ).last_hidden_state
        hidden_ND = hidden_BTD.flatten(0, 1)
        if hasattr(bare, "score"):
            return cast("torch.Tensor", bare.score(hidden_ND[batch.last_S]).float()[:, 0])
        return cast("torch.Tensor", bare.lm_head(hidden_ND[batch.learned_N], batch.targets_N))
