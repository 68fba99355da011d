"""Settings of the test model: its shape and its training. No torch is imported here."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from training.config.declarations import Command
from training.config.settings import Settings


class ModelShape(Settings):
    """A Qwen3 of any size. The output head has weights of its own: vLLM's weight update leaves a tied one stale on CPUs."""

    hidden_size: int = Field(256, ge=8)
    layers: int = Field(6, ge=1)
    heads: int = Field(4, ge=1)
    kv_heads: int = Field(2, ge=1)
    head_size: int = Field(64, ge=4)
    feed_forward_size: int = Field(768, ge=8)
    context: int = Field(2048, ge=64, description="positions that the model is declared to have, in tokens")

    @model_validator(mode="after")
    def heads_share_evenly(self) -> ModelShape:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        return self


class DemoSettings(Settings):
    """`python -m training demo FILE`: the demo's story model, from scratch. Paths are relative to the working directory."""

    run_dir: Path
    corpus: Path
    pd_scope: str = "US and life+70"
    held_out_authors: tuple[str, ...] = ()
    vocabulary: int = Field(5120, ge=300)
    shape: ModelShape = ModelShape.model_construct()

    sequence_length: int = Field(1024, ge=256)
    batch_rows: int = Field(8, ge=1, description="rows of one optimizer step")
    micro_rows: int = Field(2, ge=1, description="rows that go through the model at once; bounds the memory")

    steps: int = Field(ge=1)
    warmup_steps: int = Field(50, ge=0)
    decay_steps: int = Field(0, ge=0, description="the last steps, in which the learning rate falls to nothing")
    learning_rate: float = Field(3e-3, gt=0, description="AdamW: embeddings, output head, norms")
    matrix_learning_rate: float = Field(
        5e-3, gt=0, description="Muon, scaled to AdamW's size of update: all other matrices"
    )
    weight_decay: float = Field(0.1, ge=0)
    clip_norm: float = Field(1.0, gt=0)

    seed: int = 1
    threads: int = Field(2, ge=1)
    checkpoint_every: int = Field(200, ge=1)
    evaluate_every: int = Field(100, ge=1)
    evaluate_rows: int = Field(48, ge=1)

    @model_validator(mode="after")
    def parts_fit(self) -> DemoSettings:
        if self.warmup_steps + self.decay_steps > self.steps:
            raise ValueError("warmup_steps and decay_steps together are more than steps")
        if self.batch_rows % self.micro_rows:
            raise ValueError(f"batch_rows ({self.batch_rows}) must be a multiple of micro_rows ({self.micro_rows})")
        if self.sequence_length > self.shape.context:
            raise ValueError("sequence_length is more than the model's context")
        return self


# What a resumed run may change: how long it is, and how fast it is computed.
MAY_CHANGE = {
    "run_dir",
    "corpus",
    "steps",
    "decay_steps",
    "checkpoint_every",
    "evaluate_every",
    "evaluate_rows",
    "threads",
    "micro_rows",
}

DEMO = Command(
    name="demo",
    about="Trains the demo's model from scratch.",
    settings=DemoSettings,
    run="training.test_model.train:train_demo",
)
