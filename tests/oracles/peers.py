"""TRL's trainers and plain transformers on the same tokens as our recipes, and how their gradients are compared."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerFast

from tests.training import models
from training.common.records import Sample
from training.config.learner import LearnerSettings
from training.datasets.encoding import ChatEncoder, ContextLimit, Pairs, conversations, pairs
from training.learner.engine import Learner
from training.learner.models import can_pack, load_tokenizer, prepare

Gradients = dict[str, torch.Tensor]
TOLERANCE = 1e-5
OF_DECAY, DECAY_TOLERANCE = ("A_log", "dt_bias", "in_proj_a.weight"), 2e-5
"""Of the delta net's decay plain transformers in float32 is 2e-5 off itself in float64, and by how much two ways to compute it differ depends on the
processor: 1.17e-5 was seen with AVX-512."""


def encoder(folder: Path) -> ChatEncoder:
    """The encoder of the model in the folder; without one, of a random model that is saved there."""
    if not folder.exists():
        models.save(models.random_model("qwen3"), folder)
    return ChatEncoder(load_tokenizer(folder), folder)


def some_conversations(folder: Path, count: int = 6) -> list[tuple[Sample]]:
    data = models.conversations(folder / "sft.jsonl", count)
    return conversations([data], encoder(folder / "tokenizer"), ContextLimit(2048, "refuse"))


def some_pairs(folder: Path, count: int = 4, most: int = 6, **more: Any) -> Pairs:
    """Short ones: the peers add up log-probabilities in float32, whose rounding grows with a text's length."""
    data = models.preferences(folder / "pairs.jsonl", count, most=most, **more)
    return pairs([data], encoder(folder / "tokenizer"), ContextLimit(2048, "refuse"))


def reward_model(kind: models.Kind, seed: int = 0) -> PreTrainedModel:
    causal = models.random_model(kind, seed)
    torch.manual_seed(seed + 1)
    config = copy.deepcopy(causal.config)
    config.num_labels = 1
    model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
    model.base_model.load_state_dict(causal.base_model.state_dict())
    return model


def learner(model: PreTrainedModel, **changes: Any) -> Learner:
    """Ours, in float32, on a copy of the model."""
    settings = LearnerSettings(precision="float32", threads=1, **changes)
    model = prepare(copy.deepcopy(model), settings)
    return Learner(model, settings, packed=can_pack(model, settings, lambda _: None))


def gradients(module: torch.nn.Module) -> Gradients:
    return {name: one.grad for name, one in module.named_parameters() if one.grad is not None}


def far(ours: Gradients, theirs: Gradients) -> dict[str, float]:
    """Parameters whose gradients differ by more than 1e-5 of their length, or of a hundredth of all gradients' if they are short.

    A short gradient is a sum whose terms cancel.
    """
    assert ours.keys() == theirs.keys()
    whole = torch.stack([one.norm() for one in theirs.values()]).norm().item()
    shares = {
        name: ((ours[name] - one).norm() / one.norm().clamp(min=1e-2 * whole)).item() for name, one in theirs.items()
    }
    return {
        name: share
        for name, share in shares.items()
        if not share <= (DECAY_TOLERANCE if name.endswith(OF_DECAY) else TOLERANCE)
    }


def trl_settings(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "output_dir": str(folder), "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": [],
        "max_length": None, "disable_tqdm": True, "per_device_train_batch_size": 2,
    } | more  # fmt: skip


def one_row(kind: str) -> Dataset:
    """A data set that TRL's trainers take at their start; what is compared goes past it."""
    said = [{"role": "user", "content": "Write."}], [{"role": "assistant", "content": "So."}]
    columns = {"sft": ("prompt", "completion"), "pair": ("prompt", "chosen", "rejected")}[kind]
    return Dataset.from_list([dict(zip(columns, [said[0], said[1], said[1]]))])


def fast_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    return load_tokenizer(folder / "tokenizer")
