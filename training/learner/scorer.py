"""The module that is trained: a language model whose outputs are log-probabilities of given tokens, or a reward model."""

from __future__ import annotations

from typing import cast

import torch
from transformers import PreTrainedModel

from training.learner.batches import Batch
from training.objectives.logprobs import token_logprobs


class LogprobHead(torch.nn.Linear):
    """An output head that can return log-probabilities of given tokens without computing all logits. Weights and their names are unchanged.

    It is a module so that DeepSpeed, which gathers weights when a module is called, gathers the head's too.
    """

    def __init__(self, head: torch.nn.Linear) -> None:
        super().__init__(head.in_features, head.out_features, bias=False, device="meta")
        self.weight = head.weight

    def forward(
        self, hidden: torch.Tensor, targets_N: torch.Tensor | None = None, temperature: float = 1.0
    ) -> torch.Tensor:
        if targets_N is None:
            return super().forward(hidden)
        return token_logprobs(hidden, self.weight, targets_N, temperature=temperature)


class Scorer(torch.nn.Module):
    """Wraps `model`, with or without adapters, and reads batches. Its output depends on the model's head:

    - for a causal language model, the log-probabilities of the learned tokens at a temperature, [N], in nats, float32;
    - for a sequence classifier with one label (a reward model), the reward of each text, [S], float32.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, temperature: float = 1.0) -> torch.Tensor:
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
        head = bare.get_output_embeddings()
        return cast("torch.Tensor", head(hidden_ND[batch.learned_N], batch.targets_N, temperature))
