"""The recipe `pretrain`, declared: its settings, and what everybody else needs to know of it. No torch is imported here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from training.config.declarations import Recipe
from training.config.recipe import RecipeSettings


class PretrainSettings(RecipeSettings):
    """`python -m training pretrain FILE`: goes on training a model on plain texts, short stories and whole books alike."""

    recipe: Literal["pretrain"] = "pretrain"
    overlong: Literal["cut"] = Field("cut", description="a book is read in pieces of `context` tokens, all of it")
    batch_tokens: int = Field(2**20, ge=16, le=2**30, description="tokens of one optimizer step")


RECIPE = Recipe(
    name="pretrain",
    label="Continual pretraining",
    about="Continues to train a model on plain texts, short stories and whole books alike.",
    settings=PretrainSettings,
    run="training.recipes.pretrain.loop:pretrain",
    learns_from=("texts",),
    rows="texts",
    pieces=True,
)
