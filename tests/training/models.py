"""Tiny random models of three families with a tokenizer, and small data for them."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3_5ForCausalLM,
    Qwen3_5TextConfig,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.training.conftest import made_up_story
from training.common.text import Message
from training.test_model.tokenizer import END, PAD, save_tokenizer, train_tokenizer

Kind = Literal["llama", "qwen3", "qwen3.5"]
KINDS: tuple[Kind, ...] = ("llama", "qwen3", "qwen3.5")
VOCABULARY = 400


@cache
def tokenizer() -> Tokenizer:
    return train_tokenizer([made_up_story(seed) for seed in range(20)], VOCABULARY)


def random_model(kind: Kind, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """About ten thousand float32 weights; larger than the library's, so that log-probabilities differ between tokens."""
    encoder = tokenizer()
    shape: dict[str, Any] = {
        "vocab_size": encoder.get_vocab_size(), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 2048,
        "tie_word_embeddings": False, "bos_token_id": None, "eos_token_id": encoder.token_to_id(END),
        "pad_token_id": encoder.token_to_id(PAD), "initializer_range": 0.2, "use_cache": False,
    } | changes  # fmt: skip
    torch.manual_seed(seed)
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**shape))
    if kind == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**shape))
    shape |= {
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    }
    return Qwen3_5ForCausalLM(Qwen3_5TextConfig(**shape, layer_types=["linear_attention", "full_attention"]))


def save(model: PreTrainedModel, folder: Path) -> Path:
    model.save_pretrained(folder)
    save_tokenizer(tokenizer(), folder, model.config.max_position_embeddings)
    return folder


def messages(seed: int, sentences: int) -> list[Message]:
    story = made_up_story(seed, sentences)
    return [{"role": "user", "content": f"Write story {seed}."}, {"role": "assistant", "content": story}]


def write_lines(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def conversations(path: Path, count: int = 24, seed: int = 0) -> Path:
    rng = random.Random(seed)
    return write_lines(path, [{"messages": messages(seed * 1000 + n, rng.randrange(2, 14))} for n in range(count)])


def preferences(path: Path, count: int = 24, seed: int = 0, most: int = 14, **more: Any) -> Path:
    rng = random.Random(seed)
    lines = []
    for number in range(count):
        one, other = (messages(seed * 1000 + number + side * 500, rng.randrange(2, most)) for side in (0, 1))
        lines.append({"prompt": one[:1], "chosen": one[1:], "rejected": other[1:]} | more)
    return write_lines(path, lines)


def texts(path: Path, count: int = 24, seed: int = 0) -> Path:
    rng = random.Random(seed)
    return write_lines(path, [{"text": made_up_story(seed * 1000 + n, rng.randrange(2, 40))} for n in range(count)])
