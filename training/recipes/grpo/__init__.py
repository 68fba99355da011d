"""The recipe `grpo`, declared: its settings, and what everybody else needs to know of it. No torch is imported here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from training.config.declarations import Recipe
from training.config.learner import LearnerSettings
from training.config.markers import First, NotAsked, Part
from training.rollouts.settings import GroupSettings


class GrpoLearnerSettings(LearnerSettings):
    """As in POLARIS: small steps of one size."""

    learning_rate: Annotated[float, First()] = Field(1e-6, gt=0, le=1)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_share: float = Field(0.0, ge=0, le=1, description="of all steps")
    betas: Annotated[tuple[float, float], NotAsked()] = (0.9, 0.999)


class GrpoSettings(GroupSettings):
    """`python -m training grpo FILE`: group relative policy optimisation on stories that the model writes, with human references."""

    recipe: Literal["grpo"] = "grpo"
    learner: Annotated[GrpoLearnerSettings, Part("Adapter, optimiser, memory", 70)] = GrpoLearnerSettings()


RECIPE = Recipe(
    name="grpo",
    label="Reinforcement learning (GRPO)",
    about="The model writes several stories to each request, which are scored; it learns from the differences, and from human stories where there are some.",
    settings=GrpoSettings,
    run="training.recipes.grpo.loop:grpo",
    # The learner's threads would spin while they wait for each other, on cores that the rollout server needs.
    environment={"OMP_WAIT_POLICY": "passive"},
    learns_from=("conversations",),
    unanswered=True,
    example="group",
    defaults={"learner": {"lora": {}, "learning_rate": 1e-5}},
)
