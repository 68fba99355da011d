"""The declaration and the settings of the recipe `pretrain`. Does not import torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from training.config.declarations import Recipe
from training.config.recipe import MixtureSettings


class PretrainSettings(MixtureSettings):
    """`python -m training pretrain FILE`: continued pretraining on plain texts, from short stories to whole books."""

    recipe: Literal["pretrain"] = "pretrain"
    overlong: Literal["cut"] = Field("cut", description="Reads a longer text in pieces of `context` tokens, all of it.")
    batch_tokens: int = Field(2**20, ge=16, le=2**30, description="Sets the number of tokens in an optimizer step.")


RECIPE = Recipe(
    name="pretrain",
    label="Continual pretraining",
    about="Continues to train a model on plain texts, from short stories to whole books.",
    settings=PretrainSettings,
    run="training.recipes.pretrain.loop:pretrain",
    learns_from=("texts",),
    rows="texts",
    pieces=True,
)
