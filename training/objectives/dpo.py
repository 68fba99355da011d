"""Direct preference optimisation (Rafailov et al., arXiv 2305.18290) from log-probabilities of whole texts."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def text_logprobs(logprobs_N: torch.Tensor, text_N: torch.Tensor, texts: int, *, mean: bool) -> torch.Tensor:
    """Return log p of each of S texts, [S], in nats: the sum over its learned tokens, or their mean. `text_N` is the number of each token's text.

    The result is float64, because a long story has about 50,000 nats, where float32 resolves only 0.004.
    """
    sums_S = logprobs_N.new_zeros(texts, dtype=torch.float64).index_add(0, text_N, logprobs_N.double())
    if not mean:
        return sums_S
    return sums_S / torch.bincount(text_N, minlength=texts).clamp(min=1)


def dpo_losses(
    policy_P2: torch.Tensor, reference_P2: torch.Tensor, label_P: torch.Tensor, beta: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of each of P pairs and its margin (the difference of the implicit rewards), both [P], in nats.

    Column 0 is the chosen text, column 1 the rejected one. `label_P` is the probability that the chosen text is better
    (conservative DPO, Mitchell 2023): 1 is plain DPO; 1/2 is a tie, whose loss is least at margin 0.
    With `beta` 0.1 and labels of 1 this is Weaver's loss: -log sigmoid(beta * (log-ratio of chosen - log-ratio of rejected)).
    """
    ratios_P2 = policy_P2 - reference_P2
    margin_P = beta * (ratios_P2[:, 0] - ratios_P2[:, 1])
    losses_P = -label_P * F.logsigmoid(margin_P) - (1 - label_P) * F.logsigmoid(-margin_P)
    return losses_P, margin_P.detach()
