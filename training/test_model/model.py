"""A Qwen3 of our own size, and its files in the layout that transformers and vLLM load."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from training.test_model.settings import ModelShape
from training.test_model.tokenizer import END, PAD, save_tokenizer


def new_model(shape: ModelShape, vocabulary: int, *, pad: int, end: int) -> Qwen3ForCausalLM:
    """A model with random weights from torch's generator; input and output embeddings are two matrices."""
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.feed_forward_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_size,
        max_position_embeddings=shape.context,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
        use_cache=False,
    )
    return Qwen3ForCausalLM(config)


def save_model(model: Qwen3ForCausalLM, tokenizer: Tokenizer, folder: Path, context: int) -> None:
    """Write weights (bf16), configuration, tokenizer and generation settings; the model itself stays as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(
        0o644
    )  # the library writes it for its owner only; the server may be another user
    config = model.config.to_dict() | {"architectures": ["Qwen3ForCausalLM"], "dtype": "bfloat16", "use_cache": True}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    GenerationConfig(
        do_sample=True,
        temperature=0.8,
        eos_token_id=tokenizer.token_to_id(END),
        pad_token_id=tokenizer.token_to_id(PAD),
    ).save_pretrained(folder)
    save_tokenizer(tokenizer, folder, context)
