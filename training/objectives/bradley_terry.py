"""Losses of a reward model: the Bradley-Terry model of paired comparisons, and its extension to ties and strengths."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def bradley_terry_losses(difference_P: torch.Tensor, label_P: torch.Tensor, margin_P: torch.Tensor) -> torch.Tensor:
    """Return the negative log-likelihood of each pair's label, [P], from r(chosen) - r(rejected).

    P(chosen is better) = sigmoid(difference - margin): Bradley and Terry (1952), with the margin of Llama 2 (arXiv 2307.09288).
    `label_P` is the probability that the chosen text is better; 1/2 is a tie.
    """
    logit_P = difference_P - margin_P
    return -label_P * F.logsigmoid(logit_P) - (1 - label_P) * F.logsigmoid(-logit_P)


def graded_losses(difference_P: torch.Tensor, strength_P: torch.Tensor, thresholds: Sequence[float]) -> torch.Tensor:
    """Return the negative log-likelihood of each pair's grade, [P]: 0 is a tie, 1 better, 2 much better; each threshold adds a grade.

    The cumulative logit model of graded comparisons (Agresti 1992): the difference plus logistic noise falls between two of
    the thresholds 0 < c0 < c1 ... or above the last. With c0 alone it is Rao and Kupper's model of ties (1967):
    P(chosen) = sigmoid(difference - c0), P(tie) = sigmoid(difference + c0) - sigmoid(difference - c0).
    A strength above the last grade counts as the last grade.
    """
    cuts = difference_P.new_tensor([-thresholds[0], *thresholds, float("inf")])  # grade g is between cuts g and g + 1
    grade_P = strength_P.clamp(max=len(thresholds))
    above_P, below_P = difference_P - cuts[grade_P], difference_P - cuts[grade_P + 1]
    # log(sigmoid(a) - sigmoid(b)) for a > b, without cancellation: log s(a) + log s(-b) + log(1 - exp(b - a))
    between_P = F.logsigmoid(above_P) + F.logsigmoid(-below_P) + torch.log1p(-torch.exp(below_P - above_P))
    return -between_P
