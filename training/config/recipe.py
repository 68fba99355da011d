"""What every recipe asks for. No torch is imported here.

Class defaults are the house's own, vetted values. A paper's values are a file under `training/recipes/files/`, never mixed in.
Paths are relative to the working directory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from training.config.learner import LearnerSettings
from training.config.markers import Part
from training.config.settings import Settings


class RecipeSettings(Settings):
    """What every recipe asks for."""

    run_dir: Path
    model: Path = Field(description="a folder in Hugging Face's layout with safetensors")
    data: tuple[Path, ...] = Field(min_length=1, description="JSON Lines files, plain or gzipped")
    held_out: tuple[Path, ...] = ()
    learner: Annotated[LearnerSettings, Part("Adapter, optimiser, memory", 70)] = LearnerSettings()

    context: int = Field(16_384, ge=16, le=2**20, description="the most tokens of one text, prompt included")
    overlong: Literal["refuse", "drop", "cut"] = Field("refuse", description="what to do with a longer text")
    epochs: float = Field(1.0, gt=0, le=1000)
    steps: int | None = Field(None, ge=1, le=10**7, description="instead of epochs")
    seed: int = Field(1, ge=0, le=2**31 - 1)
    checkpoint_every: int = Field(100, ge=1, le=10**6, description="steps")
    evaluate_every: int = Field(100, ge=1, le=10**6, description="steps")
    keep: int = Field(2, ge=1, le=100, description="checkpoints")


MAY_CHANGE = {
    "run_dir",
    "data",  # what it holds is compared
    "held_out",
    "checkpoint_every",
    "evaluate_every",
    "keep",
    "reference_cache",
    "learner.tokens_per_micro_batch",
    "learner.gradient_checkpointing",
    "learner.threads",
    "guards.*",  # which only watch
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
"""Patterns of what may differ between a run and its continuation: where things are, how quickly they work, what they may cost, what is only watched."""
