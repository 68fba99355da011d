"""The declaration and the settings of the recipe `sft`. Does not import torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from training.config.declarations import Recipe
from training.config.recipe import MixtureSettings


class SftSettings(MixtureSettings):
    """`python -m training sft FILE`: supervised fine-tuning on the assistant's turns of conversations."""

    recipe: Literal["sft"] = "sft"
    batch: int = Field(256, ge=1, le=10**5, description="Sets the number of conversations in an optimizer step.")


RECIPE = Recipe(
    name="sft",
    label="Supervised fine-tuning",
    about="Fine-tunes a model on the answers of conversations; of preferences it learns the preferred text.",
    settings=SftSettings,
    run="training.recipes.sft.loop:sft",
    learns_from=("conversations", "preference"),
    from_snapshots=True,
    defaults={"overlong": "drop", "learner": {"lora": {}, "learning_rate": 1e-4}},
)
