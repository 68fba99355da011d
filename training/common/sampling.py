"""How stories are sampled: one record, with what the site serves as its defaults.

Stories, takes, pairs, arenas, evaluations and smoke tests use it. Rollouts have settings of their own (`training.rollouts.settings`), because
they sample the distribution that the learner scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

MIN_P = 0.05
"""min-p (arXiv 2407.01082). On a processor, top-p costs vLLM two fifths of its throughput, because it sorts the vocabulary; min-p costs nothing."""


@dataclass(frozen=True)
class Sampling:
    temperature: float = 0.8
    """Divides the logits, 0 to 2."""
    min_p: float = MIN_P
    """Leaves out tokens that are less likely than this share of the likeliest one; 0 leaves out none."""
    top_p: float = 1.0
    """Samples from the likeliest tokens whose probabilities together reach it; 1 samples from all."""
    seed: int | None = None
    thinking: bool | None = None
    """None leaves thinking to the site's setting."""

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Sampling:
        """The record of a stored row. A row with top_p and without min_p is from the time before min_p, when no token was left out by it."""
        before = {"min_p": 0.0} if "top_p" in stored else {}
        return cls(**{**before, **{name: stored[name] for name in cls.__dataclass_fields__ if name in stored}})

    def stored(self) -> dict[str, Any]:
        """What a row keeps: the seed and the thinking only if they were chosen."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def parameters(self) -> dict[str, Any]:
        """vLLM's parameters: all that a model's generation_config.json could set otherwise, so that nothing but this record decides."""
        seed = {} if self.seed is None else {"seed": self.seed}
        return {
            "temperature": self.temperature,
            "min_p": self.min_p,
            "top_p": self.top_p,
            "top_k": 0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            **seed,
        }

    def __str__(self) -> str:
        """
        >>> str(Sampling()), str(Sampling(temperature=1, min_p=0, top_p=0.9))
        ('temperature 0.8, min-p 0.05', 'temperature 1, top-p 0.9')
        """
        cuts = [f"min-p {self.min_p:g}"] * bool(self.min_p) + [f"top-p {self.top_p:g}"] * (self.top_p < 1)
        return ", ".join([f"temperature {self.temperature:g}", *cuts])


SERVED = Sampling()
"""What the site serves where nobody chose otherwise."""
