"""The declaration and the settings of the recipe `dpo`. Does not import torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from training.config.declarations import Recipe
from training.config.recipe import RecipeSettings
from training.constitution.settings import Mix


class DpoSettings(RecipeSettings):
    """`python -m training dpo FILE`: direct preference optimisation (arXiv 2305.18290), with the initial model as the reference."""

    recipe: Literal["dpo"] = "dpo"
    batch: int = Field(32, ge=1, le=10**5, description="Sets the number of pairs in an optimizer step.")
    beta: float = Field(0.1, gt=0, le=1000, description="Sets how strongly the model is kept near the reference.")
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="Sets the share of labels that are assumed to be wrong."
    )
    length_normalised: bool = Field(
        False, description="Compares means over tokens instead of sums; beta must then be about 100 times larger."
    )
    reference_cache: Path | None = Field(
        None, description="Names a folder that caches the reference's log-probabilities; if empty, run_dir does."
    )


RECIPE = Recipe(
    name="dpo",
    label="Preference training (DPO)",
    about="Trains a model to prefer what the editors prefer, with the initial model as the reference (arXiv 2305.18290).",
    settings=DpoSettings,
    run="training.recipes.dpo.loop:dpo",
    learns_from=("preference",),
    from_snapshots=True,
    example="pair",
    rows="preference",
    reference=True,
    mix=Mix,
    defaults={"overlong": "drop", "epochs": 3, "learner": {"lora": {}, "learning_rate": 5e-6}},
)
