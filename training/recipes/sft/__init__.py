"""The recipe `sft`: its settings. No torch is imported here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from training.config.recipe import RecipeSettings


class SftSettings(RecipeSettings):
    """`python -m training sft FILE`: supervised fine-tuning on the assistant's turns of conversations."""

    recipe: Literal["sft"] = "sft"
    batch: int = Field(256, ge=1, le=10**5, description="conversations of one optimizer step")
