"""How weights learn: settings of the learner and of low-rank adapters. No torch is imported here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from training.config.markers import First, NotAsked
from training.config.settings import Settings


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

    learning_rate: Annotated[float, First()] = Field(1e-5, gt=0, le=1)
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup_share: float = Field(0.05, ge=0, le=1, description="of all steps")
    final_share: float = Field(0.0, ge=0, le=1, description="of the learning rate, that the last step has")
    betas: Annotated[tuple[float, float], NotAsked()] = (0.9, 0.95)
    epsilon: float = Field(1e-8, gt=0, le=1)
    weight_decay: float = Field(0.0, ge=0, le=10, description="of matrices; vectors such as norms never decay")
    clip_norm: float = Field(1.0, gt=0, le=1e6)
    threads: Annotated[int | None, NotAsked()] = Field(
        None, ge=1, le=1024, description="of one process on a CPU; empty: torch decides"
    )

    @model_validator(mode="after")
    def parts_fit(self) -> LearnerSettings:
        if self.offload != "none" and not self.zero_stage:
            raise ValueError("offload needs zero_stage 1, 2 or 3")
        if self.offload == "all" and self.zero_stage != 3:
            raise ValueError("offload 'all' keeps weights in the host's memory, which needs zero_stage 3")
        return self
