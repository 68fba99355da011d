"""TRL's trainers as a peer: their own loop on our tokens, with a callback between steps in which our step is timed."""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerFast, PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from training.learner.batches import Example

os.environ.setdefault("HF_HUB_OFFLINE", "1")
Recipe = Literal["sft", "dpo", "reward_model"]


class _OnOurTokens(DPOTrainer):
    """A DPOTrainer that accepts tokenized rows, like TRL's other trainers."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset


def rows(recipe: Recipe, examples: Sequence[Example]) -> Dataset:
    made: list[dict[str, Any]] = []
    for example in examples:
        tokens = [sample.tokens.tolist() for sample in example]
        if recipe == "sft":
            (sample,) = example
            labels = [token if weight else -100 for token, weight in zip(tokens[0], sample.weights)]
            made.append({"input_ids": tokens[0], "labels": labels})
        elif recipe == "dpo":
            prompt = int(example[0].weights.argmax())
            made.append(
                {
                    "prompt_ids": tokens[0][:prompt],
                    "chosen_ids": tokens[0][prompt:],
                    "rejected_ids": tokens[1][prompt:],
                }
            )
        else:
            made.append({"chosen_ids": tokens[0], "rejected_ids": tokens[1]})
    return Dataset.from_list([row | {"length": sum(map(len, example))} for row, example in zip(made, examples)])


class _Turns(TrainerCallback):
    def __init__(self, between: Callable[[], None]) -> None:
        self.between, self.seconds = between, list[float]()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self.began)
        self.between()


def steps(
    recipe: Recipe,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    examples: Sequence[Example],
    *,
    count: int,
    batch: int,
    checkpointing: bool,
    between: Callable[[], None] = lambda: None,
) -> list[float]:
    """Return the seconds of each of `count` optimizer steps over all examples, in batches of `batch`; `between` is called after each.

    Its best settings: the chunked output head, batches of texts of similar length, bfloat16 autocast over float32 weights, the fused
    AdamW, DPO's reference computed beforehand. Packing and padding-free batches need kernels that CPUs do not have.
    """
    turns = _Turns(between)
    with tempfile.TemporaryDirectory() as folder:
        common: dict[str, Any] = {
            "output_dir": folder, "use_cpu": not torch.cuda.is_available(), "bf16": True, "report_to": [], "save_strategy": "no",
            "gradient_checkpointing": checkpointing, "gradient_checkpointing_kwargs": {"use_reentrant": False},
            "max_length": None, "per_device_train_batch_size": batch, "gradient_accumulation_steps": len(examples) // batch,
            "max_steps": count, "optim": "adamw_torch_fused", "learning_rate": 1e-6, "lr_scheduler_type": "constant",
            "logging_strategy": "no", "disable_tqdm": True, "train_sampling_strategy": "group_by_length",
            "length_column_name": "length", "remove_unused_columns": False, "dataloader_num_workers": 0,
        }  # fmt: skip
        data = rows(recipe, examples)
        if recipe == "sft":
            trainer: Any = SFTTrainer(model, SFTConfig(**common), train_dataset=data, processing_class=tokenizer)
        elif recipe == "dpo":
            settings = DPOConfig(**common, precompute_ref_log_probs=True)
            trainer = _OnOurTokens(model, args=settings, train_dataset=data, processing_class=tokenizer)
        else:
            trainer = RewardTrainer(model, args=RewardConfig(**common), train_dataset=data, processing_class=tokenizer)
        trainer.add_callback(turns)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    del trainer
    gc.collect()
    return turns.seconds
