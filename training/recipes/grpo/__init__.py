"""The declaration and the settings of the recipe `grpo`. Does not import torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from training.config.declarations import Recipe
from training.config.learner import LearnerSettings
from training.config.markers import First, NotAsked, Part
from training.rollouts.settings import GroupSettings


class GrpoLearnerSettings(LearnerSettings):
    """Defaults as in POLARIS: a small, constant learning rate."""

    learning_rate: Annotated[float, First()] = Field(1e-6, ge=0, le=1)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_share: float = Field(
        0.0, ge=0, le=1, description="Sets the share of steps in which the learning rate rises."
    )
    betas: Annotated[tuple[float, float], NotAsked()] = (0.9, 0.999)


class GrpoSettings(GroupSettings):
    """`python -m training grpo FILE`: group relative policy optimisation on stories that the model writes, with human references."""

    recipe: Literal["grpo"] = "grpo"
    learner: Annotated[GrpoLearnerSettings, Part("Adapter, optimiser, memory", 70)] = GrpoLearnerSettings()


RECIPE = Recipe(
    name="grpo",
    label="Reinforcement learning (GRPO)",
    about="The model writes several stories for each request, and learns from the differences of their scores, and from human stories where there are any.",
    settings=GrpoSettings,
    run="training.recipes.grpo.loop:grpo",
    # Otherwise the learner's threads spin while they wait, on cores that the rollout server needs.
    environment={"OMP_WAIT_POLICY": "passive"},
    learns_from=("conversations",),
    unanswered=True,
    example="group",
    defaults={"learner": {"lora": {}, "learning_rate": 1e-5}},
)
