"""The learning rate schedule."""

from __future__ import annotations

import math

from training.config.learner import LearnerSettings


def learning_rate_factor(step: int, total: int, settings: LearnerSettings) -> float:
    """Return the factor of the learning rate, 0 to 1, for step `step` (from 0) of `total`.

    It rises linearly over the warm-up and then falls towards `final_share`, which the step after the last would have: no step has a rate
    of 0.
    """
    warmup = round(settings.warmup_share * total)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if settings.schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, total - warmup)
    falling = 1 - done if settings.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return settings.final_share + (1 - settings.final_share) * falling
