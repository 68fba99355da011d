"""The arena's ratings compared with choix', on the same comparisons."""

from __future__ import annotations

import choix
import numpy as np
import pytest

from training.evaluate.ratings import Comparison, rate
from workers.jobs.arenas import PRIOR


@pytest.mark.parametrize("prior", [1e-6, PRIOR])
@pytest.mark.parametrize("contestants", [2, 5])
@pytest.mark.parametrize("seed", [1, 2])
def test_ratings_are_choix(contestants: int, seed: int, prior: float) -> None:
    random = np.random.default_rng(seed)
    strengths = random.normal(size=contestants)
    pairs = []
    for _ in range(300):
        first, second = random.choice(contestants, size=2, replace=False).tolist()
        won = random.random() < 1 / (1 + np.exp(strengths[second] - strengths[first]))
        pairs.append((first, second) if won else (second, first))
    theirs = choix.opt_pairwise(contestants, pairs, alpha=prior, tol=1e-12)
    mixed = [
        Comparison(winner, loser, 1) if number % 2 else Comparison(loser, winner, -1)
        for number, (winner, loser) in enumerate(pairs)
    ]
    ours = rate(contestants, mixed, prior=prior).values
    assert ours == pytest.approx((theirs - theirs.mean()).tolist(), abs=1e-4)
