"""Group relative policy optimisation (Shao et al., arXiv 2402.03300) with one update for each batch of stories, from log-probabilities of tokens.

The policy that learns is the one that wrote, so the ratio of the two is 1 and PPO's clipping never binds: POLARIS' 0.20, 0.28 and 3 change nothing
there either (recipes.md 1.6). What is left is the gradient of -A log p, a token of a human story included.

Where stories were written one step ago, each token's gradient is weighed by how much likelier it has become, but not by more than `most`
(truncated importance sampling). The weight of a whole story would be useless: over 6,000 tokens the noise between the server's arithmetic and
ours alone spreads it over some e^4.
"""

from __future__ import annotations

import torch


def grpo_losses(
    logprobs_N: torch.Tensor, advantage_N: torch.Tensor, sampled_N: torch.Tensor | None = None, most: float = 2.0
) -> torch.Tensor:
    """Loss of each of N tokens, to be added up and divided by the number of the step's tokens; its value is -A where nothing is weighed.

    `sampled_N` are the log-probabilities with which the server drew the tokens; NaN where nobody drew them (a human story's), which are not
    weighed.
    """
    ratio_N = (logprobs_N - logprobs_N.detach()).exp()
    if sampled_N is None:
        return -advantage_N * ratio_N
    return -advantage_N * ratio_N * importance(logprobs_N.detach(), sampled_N).clamp(max=most)


def importance(logprobs_N: torch.Tensor, sampled_N: torch.Tensor) -> torch.Tensor:
    """p now / p when it was drawn, of each token; 1 where nobody drew it."""
    return (logprobs_N - sampled_N).nan_to_num(nan=0.0).clamp(-20, 20).exp()
