"""The text by which server and learner are compared after each transfer of weights.

Where both compute in float32, it is random tokens, so that all of the embedding and the head takes part; the two differ by far less than the
tolerance. In bfloat16 the rounding of two kernels differs on such unlikely tokens as much as a stale matrix would. Then it is a text that the policy
wrote before it learned anything, and what the unchanged weights differ by on it is allowed for. Both are kept in the run's folder: a run that
resumes would otherwise take a stale matrix for rounding.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from training.rollouts.records import Tokens

FIRST_SIGHT = 0.1
"""Nats a token by which unchanged weights may differ in bfloat16: half of what a stale matrix does."""
NAME = "agreement.json"


@dataclass(frozen=True, slots=True)
class AgreementText:
    """`tokens`, of which the last `compared` are compared. `noise` is the mean difference of unchanged weights, in nats; None if it is to be measured."""

    tokens: list[int]
    compared: int
    noise: float | None = None

    @property
    def array(self) -> Tokens:
        return np.asarray(self.tokens, np.int32)

    def allowed(self, tolerance: float) -> float:
        """Return the difference that is allowed, in nats. Rounding grows a little while the policy moves away from the text."""
        return max(tolerance, FIRST_SIGHT) if self.noise is None else tolerance + 2 * self.noise

    def save(self, folder: Path) -> None:
        fresh = folder / f".{NAME}"
        fresh.write_text(json.dumps(asdict(self)))
        fresh.rename(folder / NAME)


def saved_text(folder: Path) -> AgreementText | None:
    """Return the text of the run's beginning; None if there is none, or if it cannot be read."""
    try:
        return AgreementText(**json.loads((folder / NAME).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
