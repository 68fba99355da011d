"""What a model computes for a fixed text: to compare the learner with a server, and with its own export."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from training.common.records import Sample
from training.learner import processes
from training.learner.engine import Learner

Tokens = npt.NDArray[np.int32]
Outputs = npt.NDArray[np.float32]


def fixed_text(vocabulary: int, tokens: int = 256) -> Tokens:
    """Return random tokens, always the same, so that all of the embedding and the head takes part."""
    return np.random.default_rng(0).integers(0, vocabulary, tokens).astype(np.int32)


def learner_logprobs(learner: Learner, text: Tokens) -> Outputs:
    """Return log p of all tokens except the first, [T - 1], or a reward model's reward, [1]; computed by all processes and returned to all."""
    sample = Sample(text, np.ones(len(text), dtype=np.float32))
    (found,) = [answer for _, _, answer in learner.infer([(sample,)])] or [torch.empty(0)]
    gathered = [one for one in processes.all_gather(found.float().cpu().numpy()) if len(one)]
    answer: Outputs = gathered[0]
    return answer


@torch.no_grad()
def eager_outputs(model: PreTrainedModel, text: Tokens) -> Outputs:
    """Return the same of a model as transformers runs it."""
    tokens = torch.from_numpy(text)[None].long()
    logits: torch.Tensor = model(input_ids=tokens, use_cache=False).logits[0].float()
    if not hasattr(model, "score"):
        logits = logits[:-1].log_softmax(-1).gather(1, tokens[0, 1:, None])[:, 0]
    answer: Outputs = logits.numpy()
    return answer
