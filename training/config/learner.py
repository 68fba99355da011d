"""Settings of the learner and of low-rank adapters. Does not import torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from training.common.served import SERVED_RANK
from training.config.markers import UNTRIED, First, NotAsked
from training.config.settings import Settings

Precision = Literal["auto", "float32", "bfloat16"]


class Lora(Settings):
    """Low-rank adapters on all linear layers except the head (arXiv 2106.09685). The model's own weights are frozen."""

    rank: int = Field(
        32,
        ge=1,
        le=512,
        description=f"Sets the size of the adapters. Above {SERVED_RANK}, the result is served as a whole model, by a server of its own.",
    )
    alpha: int = Field(64, ge=1, le=4096, description="Scales the adapters' output by alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1)


class LearnerSettings(Settings):
    """Precision, memory and optimizer. The defaults suit a single process."""

    precision: Precision = Field(
        "auto",
        description="Applies to weights and arithmetic; the optimizer has float32 copies of what it trains. With auto it is bfloat16, but float32 on a processor that is slow in bfloat16.",
    )
    zero_stage: Literal[0, 1, 2, 3] = Field(
        0,
        description="With 0, plain torch runs one process; with 1 to 3, DeepSpeed shards optimizer, gradients, weights. "
        + UNTRIED,
    )
    offload: Literal["none", "optimizer", "all"] = Field(
        "none", description="Determines what DeepSpeed keeps in the host's memory. " + UNTRIED
    )
    gradient_checkpointing: bool = True
    lora: Lora | None = None
    packing: Literal["auto", "on", "off"] = Field(
        "auto", description="Joins texts without padding; if off, texts of similar length are padded on the right."
    )
    tokens_per_micro_batch: int | None = Field(
        None,
        ge=1,
        le=2**24,
        description=(
            "Limits the tokens of a micro-batch in one process, which bounds the memory and changes no result. If empty, there are 128 for each GiB of "
            "the GPU's memory (without a GPU, of half of the machine's), at most 8,192."
        ),
    )

    learning_rate: Annotated[float, First()] = Field(1e-5, ge=0, le=1)
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup_share: float = Field(
        0.05, ge=0, le=1, description="Sets the share of steps in which the learning rate rises."
    )
    final_share: float = Field(
        0.0, ge=0, le=1, description="Sets the share of the learning rate to which it falls at the end."
    )
    betas: Annotated[tuple[float, float], NotAsked()] = (0.9, 0.95)
    epsilon: float = Field(1e-8, gt=0, le=1)
    weight_decay: float = Field(0.0, ge=0, le=10, description="Applies to matrices, not to vectors such as norms.")
    clip_norm: float = Field(1.0, gt=0, le=1e6, description="Limits the norm of the gradients.")
    threads: Annotated[int | None, NotAsked()] = Field(
        None, ge=1, le=1024, description="Sets the CPU threads of a process; if empty, torch decides."
    )

    def micro_batch(self, memory: float) -> int:
        """Return the most tokens of a micro-batch in a process with `memory` bytes. A longer text is one by itself."""
        return self.tokens_per_micro_batch or max(1, min(8192, int(memory / 2**30 * 128)))

    @model_validator(mode="after")
    def parts_fit(self) -> LearnerSettings:
        if self.offload != "none" and not self.zero_stage:
            raise ValueError("offload needs zero_stage 1, 2 or 3")
        if self.offload == "all" and self.zero_stage != 3:
            raise ValueError("offload 'all' needs zero_stage 3")
        return self
