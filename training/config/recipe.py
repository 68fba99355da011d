"""The settings that all recipes share. Does not import torch.

Class defaults are our own tested values. A paper's values are in a file under `training/recipes/files/`. Paths are relative to the working
directory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from training.config.learner import LearnerSettings
from training.config.markers import NotAsked, Part
from training.config.settings import Settings


class RecipeSettings(Settings):
    """The settings that all recipes share."""

    run_dir: Path
    model: Path = Field(description="Names a folder in Hugging Face's layout with safetensors.")
    adapter: Path | None = Field(
        None,
        description=(
            "Names a folder with an adapter of `model` in peft's layout, which the run continues: `learner.lora` has its rank and alpha. To merge "
            "it instead, name the merged model as `model`."
        ),
    )
    data: tuple[Path, ...] = Field(min_length=1, description="Names JSON Lines files, plain or gzipped.")
    held_out: tuple[Path, ...] = ()
    learner: Annotated[LearnerSettings, Part("Adapter, optimiser, memory", 70)] = LearnerSettings()

    context: int = Field(16_384, ge=16, le=2**20, description="Limits the tokens of one text, with its prompt.")
    overlong: Literal["refuse", "drop", "cut"] = Field("refuse", description="Determines what happens to longer texts.")
    epochs: float = Field(1.0, gt=0, le=1000)
    steps: int | None = Field(None, ge=1, le=10**7, description="Replaces the number of epochs.")
    seed: int = Field(1, ge=0, le=2**31 - 1)
    checkpoint_every: int = Field(100, ge=1, le=10**6, description="Sets the steps between checkpoints.")
    evaluate_every: int = Field(100, ge=1, le=10**6, description="Sets the steps between evaluations.")
    keep: int = Field(2, ge=1, le=100, description="Sets the number of checkpoints that are kept.")


MOST_WEIGHT = 1000
Weight = Annotated[float, Field(gt=0, le=MOST_WEIGHT)]


class MixtureSettings(RecipeSettings):
    """The settings of recipes that mix several files of data by weight."""

    data_weights: Annotated[tuple[Weight, ...], NotAsked()] = Field(
        (),
        description=(
            "Sets how often each line of each file of `data` is learned in an epoch: with 0.5 a random half of the lines, which the seed "
            "fixes, with 3 each line three times. Without any, each line is learned once."
        ),
    )

    @model_validator(mode="after")
    def one_weight_for_each_file(self) -> MixtureSettings:
        if self.data_weights and len(self.data_weights) != len(self.data):
            raise ValueError(
                f"data names {len(self.data)} files and data_weights has {len(self.data_weights)} numbers: give one for each file"
            )
        return self


MAY_CHANGE = {
    "run_dir",
    "data",  # its contents are compared
    "held_out",
    "checkpoint_every",
    "evaluate_every",
    "keep",
    "reference_cache",
    "learner.tokens_per_micro_batch",
    "learner.gradient_checkpointing",
    "learner.threads",
    "guards.*",  # they do not change the result
    *(
        f"rollouts.{one}"
        for one in (
            "url",
            "key_variable",
            "sync",
            "tensor_parallel",
            "gpu_memory",
            "logprob_tolerance",
            "seconds",
            "restarts",
        )
    ),
    *(
        f"rewards.{judge}.{one}"
        for judge in ("judge", "ranges")
        for one in ("url", "key_variable", "inside", "at_once", "*_per_minute", "seconds", "tries", "most_*", "price_*")
    ),
}
"""Patterns of settings that a resumed run may change: locations, speed, budgets, and checks."""
