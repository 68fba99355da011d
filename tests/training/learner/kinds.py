"""Tiny random models of many kinds, in the shape and under the names in which they are published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, Qwen3_5ForConditionalGeneration

from tests.training import models
from training.test_model.tokenizer import END, save_tokenizer

POSITIONS = 2048


def config(kind: str, **changes: Any) -> Any:
    """A configuration by model_type; sizes that vLLM's kernels for processors accept."""
    encoder = models.tokenizer()
    base: dict[str, Any] = {
        "vocab_size": encoder.get_vocab_size(), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 64, "initializer_range": 0.15, "max_position_embeddings": POSITIONS,
        "pad_token_id": 0, "bos_token_id": None, "eos_token_id": encoder.token_to_id(END),
    }  # fmt: skip
    old = {
        "n_embd": 64,
        "n_layer": 2,
        "n_head": 2,
        "vocab_size": base["vocab_size"],
        "n_positions": POSITIONS,
        "initializer_range": 0.15,
    }
    picture: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16}
    values: dict[str, Any]
    match kind:
        case "qwen3_5":
            recurrent = {
                "linear_num_key_heads": 2,
                "linear_num_value_heads": 4,
                "linear_key_head_dim": 64,
                "linear_value_head_dim": 64,
            }
            text = base | recurrent | {"layer_types": ["linear_attention", "full_attention"]}
            vision = picture | {"depth": 1, "num_heads": 2, "out_hidden_size": 64, "num_position_embeddings": 16}
            values = {"text_config": text | changes, "vision_config": vision}
        case "gemma3":
            vision = picture | {"num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
            values = {
                "text_config": base | {"sliding_window": POSITIONS} | changes,
                "vision_config": vision,
                "mm_tokens_per_image": 1,
            }
        case "gpt2" | "gptj" | "gpt_bigcode" | "codegen":
            values = old | changes
        case "bloom":
            values = {"vocab_size": base["vocab_size"], "hidden_size": 64, "n_layer": 2, "n_head": 2} | changes
        case "mpt":
            values = {"vocab_size": base["vocab_size"], "d_model": 64, "n_heads": 2, "n_layers": 2} | changes
        case "gpt_neo":
            values = {
                "vocab_size": base["vocab_size"],
                "hidden_size": 64,
                "num_heads": 2,
                "num_layers": 2,
                "attention_types": [[["global", "local"], 1]],
            }
        case "xglm":
            values = {
                "vocab_size": base["vocab_size"],
                "d_model": 64,
                "ffn_dim": 64,
                "num_layers": 2,
                "attention_heads": 2,
            }
        case "falcon" | "stablelm" | "nemotron":
            values = {name: value for name, value in base.items() if name != "head_dim"} | changes
        case _:
            values = base | changes
    return AutoConfig.for_model(kind, **values)


def random_model(kind: str, **changes: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    chosen = config(kind, **changes)
    made: PreTrainedModel = (
        Qwen3_5ForConditionalGeneration(chosen) if kind == "qwen3_5" else AutoModelForCausalLM.from_config(chosen)
    )
    return made


def save(kind: str, folder: Path, **changes: Any) -> Path:
    """Write a random model of a kind, with a tokenizer; once."""
    if not folder.exists():
        random_model(kind, **changes).save_pretrained(folder)
        save_tokenizer(models.tokenizer(), folder, POSITIONS)
    return folder
