"""Sampling from a small model, many requests at once, with the plain softmax of transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from transformers import Qwen3ForCausalLM

from training.test_model.tokenizer import Encoder


def sample(
    model: Qwen3ForCausalLM,
    encoder: Encoder,
    prompts: Sequence[list[int]],
    *,
    tokens: int,
    temperature: float,
    batch: int = 50,
) -> Iterator[tuple[str, bool]]:
    """For each prompt the new text of at most `tokens` tokens, and whether the model ended it by itself."""
    for first in range(0, len(prompts), batch):
        part = prompts[first : first + batch]
        width = max(map(len, part))
        ids = torch.tensor([[encoder.pad] * (width - len(prompt)) + prompt for prompt in part])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in part])
        made = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=tokens,
            do_sample=True,
            temperature=temperature,
            top_k=0,
            top_p=1.0,
            eos_token_id=encoder.end,
            pad_token_id=encoder.pad,
        )
        for row in made[:, width:].tolist():
            ended = encoder.end in row
            kept = row[: row.index(encoder.end)] if ended else row
            yield encoder.tokenizer.decode(kept, skip_special_tokens=True), ended
