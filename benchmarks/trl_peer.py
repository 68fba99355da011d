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
from peft import LoraConfig
from transformers import PreTrainedModel, PreTrainedTokenizerFast, PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from training.config.learner import LearnerSettings, Lora
from training.learner.batches import Example
from training.learner.engine import dtype_of

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


def peft_config(lora: Lora | None) -> LoraConfig | None:
    """Return TRL's setting for the same adapters."""
    if lora is None:
        return None
    return LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules="all-linear", task_type="CAUSAL_LM")


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
    settings: LearnerSettings,
    *,
    count: int,
    batch: int,
    between: Callable[[], None] = lambda: None,
) -> list[float]:
    """Return the seconds of each of `count` optimizer steps over all examples, in batches of `batch`; `between` is called after each.

    Precision, gradient checkpointing and adapters are those of `settings`; in bfloat16 it computes by autocast over float32 weights. Its best settings:
    the chunked output head, batches of texts of similar length, the fused AdamW, DPO's reference computed beforehand. Packing and padding-free batches
    need kernels that CPUs do not have.
    """
    turns = _Turns(between)
    with tempfile.TemporaryDirectory() as folder:
        common: dict[str, Any] = {
            "output_dir": folder, "use_cpu": not torch.cuda.is_available(), "bf16": dtype_of(settings) == torch.bfloat16, "report_to": [], "save_strategy": "no",
            "gradient_checkpointing": settings.gradient_checkpointing, "gradient_checkpointing_kwargs": {"use_reentrant": False},
            "max_length": None, "per_device_train_batch_size": batch, "gradient_accumulation_steps": len(examples) // batch,
            "max_steps": count, "optim": "adamw_torch_fused", "learning_rate": 1e-6, "lr_scheduler_type": "constant",
            "logging_strategy": "no", "disable_tqdm": True, "train_sampling_strategy": "group_by_length",
            "length_column_name": "length", "remove_unused_columns": False, "dataloader_num_workers": 0,
        }  # fmt: skip
        data = rows(recipe, examples)
        adapters = peft_config(settings.lora)
        if recipe == "sft":
            trainer: Any = SFTTrainer(
                model, SFTConfig(**common), train_dataset=data, processing_class=tokenizer, peft_config=adapters
            )
        elif recipe == "dpo":
            arguments = DPOConfig(**common, precompute_ref_log_probs=True)
            trainer = _OnOurTokens(
                model, args=arguments, train_dataset=data, processing_class=tokenizer, peft_config=adapters
            )
        else:
            trainer = RewardTrainer(model, args=RewardConfig(**common), train_dataset=data, processing_class=tokenizer)
        trainer.add_callback(turns)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    del trainer
    gc.collect()
    return turns.seconds
