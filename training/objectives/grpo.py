"""Group relative policy optimisation (Shao et al., arXiv 2402.03300) with one update for each batch of stories, from log-probabilities of tokens.

The policy that is trained is the one that sampled, so the ratio of the two is 1 and PPO's clipping has no effect; neither do POLARIS' bounds of 0.20,
0.28 and 3. What is left is the gradient of -A log p, for the tokens of human stories too.

Where stories were sampled one step ago, each token's gradient is multiplied by the ratio of its probabilities now and then, capped at `cap`
(truncated importance sampling). A ratio for whole stories would be useless: over 6,000 tokens, the numerical noise between the server and the
learner alone spreads it over a factor of about e^4.
"""

from __future__ import annotations

import torch


def grpo_losses(
    logprobs_N: torch.Tensor, advantage_N: torch.Tensor, sampled_N: torch.Tensor | None = None, cap: float = 2.0
) -> torch.Tensor:
    """Return the loss of each of N tokens, [N]; the sum is to be divided by the number of the step's tokens. Without `sampled_N` its value is -A.

    `sampled_N` are the log-probabilities with which the server sampled the tokens; NaN marks tokens that were not sampled (a human story's), whose
    ratio is 1.
    """
    ratio_N = (logprobs_N - logprobs_N.detach()).exp()
    if sampled_N is None:
        return -advantage_N * ratio_N
    return -advantage_N * ratio_N * importance_ratios(logprobs_N.detach(), sampled_N).clamp(max=cap)


def importance_ratios(logprobs_N: torch.Tensor, sampled_N: torch.Tensor) -> torch.Tensor:
    """Return p now / p when it was sampled, of each token, [N]; 1 where `sampled_N` is NaN."""
    return (logprobs_N - sampled_N).nan_to_num(nan=0.0).clamp(-20, 20).exp()
