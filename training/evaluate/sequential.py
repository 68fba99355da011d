"""Whether one of two is better, decided while the votes come in, at a stated rate of error however often one looks.

Each decided pair is a win or a loss of the candidate; ties say nothing about which is better. Of the hypothesis "it wins at most a
share q of the decided pairs" the evidence against it after w wins and l losses is

    e(w, l) = integral of p^w (1 - p)^l over p from q to 1, divided by (1 - q) and by q^w (1 - q)^l

a betting score against the hypothesis: where the hypothesis is true it is a supermartingale that begins at 1, so by Ville's inequality
it ever reaches 1 / a with probability a at most, whenever one stops (Wald 1945; Ramdas and others, arXiv 2210.01948). The
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
    """Stated before the first vote. `share`: what the candidate must win more than; `most` decided pairs, and it is over."""

    confidence: float = 0.95
    share: float = 0.5
    most: int = 100

    def __post_init__(self) -> None:
        if not (0.5 < self.confidence < 1 and 0.05 <= self.share <= 0.95 and 1 <= self.most <= 10_000):
            raise ValueError("confidence is from 0.5 to 1, share from 0.05 to 0.95, and most from 1 to 10,000")

    @property
    def needed(self) -> float:
        """The evidence that decides."""
        return 1 / (1 - self.confidence)


def evidence(wins: int, losses: int, share: float = 0.5) -> float:
    """Against "the candidate wins at most `share`": 1 says nothing, 20 is a bet won at 20 to 1.

    >>> round(evidence(7, 0), 1)
    31.9
    """
    tail = betainc(losses + 1, wins + 1, 1 - share)  # of Beta(w + 1, l + 1) above `share`
    if tail <= 0:
        return 0.0
    log = math.log(tail) + betaln(wins + 1, losses + 1) - math.log1p(-share)
    return math.exp(min(log - wins * math.log(share) - losses * math.log1p(-share), 700.0))


def decide(wins: int, losses: int, rule: Rule) -> Decision:
    """For the counts at any time: better, not better (the evidence against that is as strong, or `most` is reached), or open."""
    if evidence(wins, losses, rule.share) >= rule.needed:
        return "better"
    if wins + losses >= rule.most or evidence(losses, wins, 1 - rule.share) >= rule.needed:
        return "not better"
    return "open"


@dataclass(frozen=True)
class Prospect:
    """What a rule does if the candidate really wins `share` of the decided pairs."""

    share: float
    promoted: float
    pairs: float
    """Decided pairs until the decision, on average."""


def prospect(share: float, rule: Rule) -> Prospect:
    """Exactly, by following every path of wins and losses to its decision."""
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
