"""A sequential test of whether one of two is better, with a bounded error rate at any number of checks.

Each decided pair is a win or a loss of the candidate; ties do not count. The evidence against the hypothesis "it wins at most a
share q of the decided pairs" after w wins and l losses is

    e(w, l) = integral of p^w (1 - p)^l over p from q to 1, divided by (1 - q) and by q^w (1 - q)^l

a betting score against the hypothesis: if the hypothesis is true, it is a supermartingale that starts at 1, so by Ville's inequality
the probability that it ever reaches 1 / a is at most a (Wald 1945; Ramdas and others, arXiv 2210.01948). The
pairs must be independent given that share, so each pair counts once, whatever the number of its votes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scipy.special import betainc, betaln

Decision = Literal["better", "not better", "open"]


@dataclass(frozen=True)
class Rule:
    """The rule, set before the first vote: the candidate must win more than `share`, with at most `most` decided pairs."""

    confidence: float = 0.95
    share: float = 0.5
    most: int = 100

    def __post_init__(self) -> None:
        if not (0.5 < self.confidence < 1 and 0.05 <= self.share <= 0.95 and 1 <= self.most <= 10_000):
            raise ValueError("confidence is from 0.5 to 1, share from 0.05 to 0.95, and most from 1 to 10,000")

    @property
    def needed(self) -> float:
        """The evidence that is required for a decision."""
        return 1 / (1 - self.confidence)


def evidence(wins: int, losses: int, share: float = 0.5) -> float:
    """The evidence against "the candidate wins at most `share`": 1 is none, 20 is a bet won at 20 to 1.

    >>> round(evidence(7, 0), 1)
    31.9
    """
    tail = betainc(losses + 1, wins + 1, 1 - share)  # of Beta(w + 1, l + 1) above `share`
    if tail <= 0:
        return 0.0
    log = math.log(tail) + betaln(wins + 1, losses + 1) - math.log1p(-share)
    return math.exp(min(log - wins * math.log(share) - losses * math.log1p(-share), 700.0))


def decide(wins: int, losses: int, rule: Rule) -> Decision:
    """The decision for the current counts: better, not better (with as much evidence, or `most` is reached), or open."""
    if evidence(wins, losses, rule.share) >= rule.needed:
        return "better"
    if wins + losses >= rule.most or evidence(losses, wins, 1 - rule.share) >= rule.needed:
        return "not better"
    return "open"


@dataclass(frozen=True)
class Prospect:
    """The behaviour of a rule if the true share of wins is `share`."""

    share: float
    promoted: float
    pairs: float
    """The mean number of decided pairs until the decision."""


def prospect(share: float, rule: Rule) -> Prospect:
    """The exact prospects of a rule, computed over all paths of wins and losses."""
    reached = {(0, 0): 1.0}
    promoted = pairs = 0.0
    while reached:
        after: dict[tuple[int, int], float] = {}
        for (wins, losses), chance in reached.items():
            decision = decide(wins, losses, rule)
            if decision != "open":
                promoted += chance * (decision == "better")
                pairs += chance * (wins + losses)
                continue
            for place, part in (((wins + 1, losses), share), ((wins, losses + 1), 1 - share)):
                after[place] = after.get(place, 0.0) + chance * part
        reached = after
    return Prospect(share, promoted, pairs)
