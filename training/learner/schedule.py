"""The learning rate over a run's steps."""

from __future__ import annotations

import math

from training.config.learner import LearnerSettings


def rate_share(step: int, total: int, settings: LearnerSettings) -> float:
    """The share of the learning rate that step `step` (from 0) of `total` uses.

    It rises in a line over the warm-up and falls towards `final_share`, which the step after the last would have: neither the
    first step nor the last is done for nothing.
    """
    warm = round(settings.warmup_share * total)
    if step < warm:
        return (step + 1) / (warm + 1)
    if settings.schedule == "constant":
        return 1.0
    gone = (step - warm) / max(1, total - warm)
    falling = 1 - gone if settings.schedule == "linear" else (1 + math.cos(math.pi * gone)) / 2
    return settings.final_share + (1 - settings.final_share) * falling
