"""The settings of the recipes. No torch is imported here, so that a page can check a run before anything starts.

Class defaults are the house's own, vetted values. A paper's values are a file under `training/recipes/files/`, never mixed in.
Paths are relative to the working directory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from training.settings import Settings


class Lora(Settings):
    """Low-rank adapters on all linear layers but the head (arXiv 2106.09685); the model's own weights stay as they are."""

    rank: int = Field(32, ge=1, le=512)
    alpha: int = Field(64, ge=1, le=4096, description="the adapters' output is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1)


class LearnerSettings(Settings):
    """How weights learn, whatever they learn: precision, memory, optimizer. The defaults suit one process."""

    precision: Literal["float32", "bfloat16"] = Field(
        "bfloat16", description="of weights and arithmetic; the optimizer keeps float32 copies of what it trains"
    )
    zero_stage: Literal[0, 1, 2, 3] = Field(
        0, description="0: plain torch, one process; 1 to 3: DeepSpeed shards optimizer, gradients, weights"
    )
    offload: Literal["none", "optimizer", "all"] = Field(
        "none", description="what DeepSpeed keeps in the host's memory"
    )
    gradient_checkpointing: bool = True
    lora: Lora | None = None
    packing: Literal["auto", "on", "off"] = Field(
        "auto", description="stories one after another without padding; off: rows of like length, padded on the right"
    )
    tokens_per_micro_batch: int = Field(
        8192,
        ge=1,
        le=2**24,
        description="that one process takes through the model at once; bounds the memory, changes no result",
    )

    learning_rate: float = Field(1e-5, gt=0, le=1)
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup_share: float = Field(0.05, ge=0, le=1, description="of all steps")
    final_share: float = Field(0.0, ge=0, le=1, description="of the learning rate, that the last step has")
    betas: tuple[float, float] = (0.9, 0.95)
    epsilon: float = Field(1e-8, gt=0, le=1)
    weight_decay: float = Field(0.0, ge=0, le=10, description="of matrices; vectors such as norms never decay")
    clip_norm: float = Field(1.0, gt=0, le=1e6)
    threads: int | None = Field(None, ge=1, le=1024, description="of one process on a CPU; empty: torch decides")

    @model_validator(mode="after")
    def parts_fit(self) -> LearnerSettings:
        if self.offload != "none" and not self.zero_stage:
            raise ValueError("offload needs zero_stage 1, 2 or 3")
        if self.offload == "all" and self.zero_stage != 3:
            raise ValueError("offload 'all' keeps weights in the host's memory, which needs zero_stage 3")
        return self


class RecipeSettings(Settings):
    """What every recipe asks for."""

    run_dir: Path
    model: Path = Field(description="a folder in Hugging Face's layout with safetensors")
    data: tuple[Path, ...] = Field(min_length=1, description="JSON Lines files, plain or gzipped")
    held_out: tuple[Path, ...] = ()
    learner: LearnerSettings = LearnerSettings()

    context: int = Field(16_384, ge=16, le=2**20, description="the most tokens of one text, prompt included")
    overlong: Literal["refuse", "drop", "cut"] = Field("refuse", description="what to do with a longer text")
    epochs: float = Field(1.0, gt=0, le=1000)
    steps: int | None = Field(None, ge=1, le=10**7, description="instead of epochs")
    seed: int = Field(1, ge=0, le=2**31 - 1)
    checkpoint_every: int = Field(100, ge=1, le=10**6, description="steps")
    evaluate_every: int = Field(100, ge=1, le=10**6, description="steps")
    keep: int = Field(2, ge=1, le=100, description="checkpoints")


class PretrainSettings(RecipeSettings):
    """`python -m training pretrain FILE`: goes on training a model on plain texts, short stories and whole books alike."""

    recipe: Literal["pretrain"] = "pretrain"
    overlong: Literal["cut"] = Field("cut", description="a book is read in pieces of `context` tokens, all of it")
    batch_tokens: int = Field(2**20, ge=16, le=2**30, description="tokens of one optimizer step")


class SftSettings(RecipeSettings):
    """`python -m training sft FILE`: supervised fine-tuning on the assistant's turns of conversations."""

    recipe: Literal["sft"] = "sft"
    batch: int = Field(256, ge=1, le=10**5, description="conversations of one optimizer step")


class RewardModelSettings(RecipeSettings):
    """`python -m training reward_model FILE`: a Bradley-Terry model of the editors' preferences, one number for a text."""

    recipe: Literal["reward_model"] = "reward_model"
    batch: int = Field(128, ge=1, le=10**5, description="pairs of one optimizer step")
    thresholds: tuple[float, ...] = Field(
        (),
        max_length=3,
        description="in log-odds: beyond the first a preference is no tie, beyond the next it is a strong one; empty: plain",
    )
    center: float = Field(
        0.0, ge=0, le=100, description="weight of (r_chosen + r_rejected)^2, which keeps rewards about nothing"
    )

    @model_validator(mode="after")
    def thresholds_rise(self) -> RewardModelSettings:
        if any(high <= low for low, high in zip((0.0, *self.thresholds), self.thresholds)):
            raise ValueError("thresholds must be above nothing and rise")
        return self


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
        for one in ("url", "key_variable", "sync", "tensor_parallel", "gpu_memory", "agreement", "seconds", "revivals")
    ),
    *(
        f"rewards.*.{one}"
        for one in ("url", "key_variable", "at_once", "*_per_minute", "seconds", "tries", "most_*", "price_*")
    ),
}
"""Patterns of what may differ between a run and its continuation: where things are, how quickly they work, what they may cost, what is only watched."""
