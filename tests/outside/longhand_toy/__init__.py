"""A recipe as another package declares one: found by its entry point, importable without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from training.config.declarations import Recipe
from training.config.recipe import RecipeSettings


class ToySettings(RecipeSettings):
    """Settings of the recipe `toy`."""

    recipe: Literal["toy"] = "toy"
    batch: int = Field(4, ge=1, le=1000, description="conversations of one optimizer step")
    last: int = Field(8, ge=1, le=1000, description="tokens at the end of an answer, which alone are learned")


RECIPE = Recipe(
    name="toy",
    label="Last words",
    about="Learns how answers end.",
    settings=ToySettings,
    run="longhand_toy.loop:toy",
    learns_from=("conversations",),
    defaults={"learner": {"lora": {"rank": 4, "alpha": 8}}},
)
