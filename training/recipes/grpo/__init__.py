"""The recipe `grpo`: its settings. No torch is imported here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from training.config.learner import LearnerSettings
from training.rollouts.settings import GroupSettings


class GrpoLearnerSettings(LearnerSettings):
    """As in POLARIS: small steps of one size."""

    learning_rate: float = Field(1e-6, gt=0, le=1)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_share: float = Field(0.0, ge=0, le=1, description="of all steps")
    betas: tuple[float, float] = (0.9, 0.999)


class GrpoSettings(GroupSettings):
    """`python -m training grpo FILE`: group relative policy optimisation on stories that the model writes, with human references."""

    recipe: Literal["grpo"] = "grpo"
    learner: GrpoLearnerSettings = GrpoLearnerSettings()
