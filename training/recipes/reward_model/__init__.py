"""The declaration and the settings of the recipe `reward_model`. Does not import torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from training.config.declarations import Recipe
from training.config.recipe import RecipeSettings
from training.constitution.settings import Mix


class RewardModelSettings(RecipeSettings):
    """`python -m training reward_model FILE`: a Bradley-Terry model of the editors' preferences, which gives a text a number."""

    recipe: Literal["reward_model"] = "reward_model"
    batch: int = Field(128, ge=1, le=10**5, description="Sets the number of pairs in an optimizer step.")
    thresholds: tuple[float, ...] = Field(
        (),
        max_length=3,
        description="Separate ties from preferences (the first) and preferences from strong ones (the next), in log-odds; without any, the plain Bradley-Terry loss is used.",
    )
    center: float = Field(
        0.0, ge=0, le=100, description="Weights the penalty (r_chosen + r_rejected)^2, which keeps rewards near 0."
    )

    @model_validator(mode="after")
    def thresholds_rise(self) -> RewardModelSettings:
        if any(high <= low for low, high in zip((0.0, *self.thresholds), self.thresholds)):
            raise ValueError("thresholds must be above 0 and rise")
        return self


RECIPE = Recipe(
    name="reward_model",
    label="Reward model",
    about="Learns from the editors' preferences to give a text one number, which GRPO can use as a reward.",
    settings=RewardModelSettings,
    run="training.recipes.reward_model.loop:reward_model",
    learns_from=("preference",),
    from_snapshots=True,
    example="pair",
    rows="preference",
    head="reward",
    mix=Mix,
    defaults={"overlong": "drop"},
)
