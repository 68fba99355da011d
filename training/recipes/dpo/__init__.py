"""The recipe `dpo`, declared: its settings, and what everybody else needs to know of it. No torch is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from training.config.declarations import Recipe
from training.config.recipe import RecipeSettings
from training.constitution.settings import Mix


class DpoSettings(RecipeSettings):
    """`python -m training dpo FILE`: direct preference optimisation (arXiv 2305.18290) against the model it starts from."""

    recipe: Literal["dpo"] = "dpo"
    batch: int = Field(32, ge=1, le=10**5, description="pairs of one optimizer step")
    beta: float = Field(0.1, gt=0, le=1000)
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="the share of labels that are taken to be wrong")
    length_normalised: bool = Field(
        False, description="compare means over tokens, not sums; beta is then some 100 times larger"
    )
    reference_cache: Path | None = Field(
        None, description="a folder for the reference's log-probabilities, kept by hash; empty: inside run_dir"
    )


RECIPE = Recipe(
    name="dpo",
    label="Preference training (DPO)",
    about="Trains a model to prefer what the editors prefer, against the model it starts from (arXiv 2305.18290).",
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
