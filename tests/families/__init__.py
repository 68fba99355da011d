"""The families of published models that are supported or refused, and what is tested of each: the table of docs/models.md.

Each cell is a test, or several, with the mark `table` that names its line. The test asserts what `expected` says of the cell, so that the page,
which is made of it, holds as long as the tests pass. `make models` runs all of them, those with vLLM too, and writes the page.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from transformers import AutoModelForCausalLM, PreTrainedModel

from tests.published import SOURCES, lay, tokenizer
from tests.training.learner import kinds
from training.learner.check import SUPPORTED

Line = Literal[
    "answer", "thinking", "turns", "tools", "computed", "sft", "dpo", "reward_model", "grpo", "export", "served", "adapter", "hand-over"
]  # fmt: skip
LINES: dict[Line, str] = {
    "answer": "tokens learned of an answer are those of `apply_chat_template`",
    "thinking": "a turn with thinking",
    "turns": "several turns",
    "tools": "tool calls",
    "computed": "log-probabilities packed = alone = transformers' eager attention, and causal",
    "sft": "`sft`, all weights",
    "dpo": "`dpo`, LoRA",
    "reward_model": "`reward_model`, LoRA",
    "grpo": "`grpo`, all weights, one replayed step",
    "export": "the result, read by transformers, is what was trained",
    "served": "the result, served by vLLM, has its log-probabilities",
    "adapter": "an adapter in vLLM = the merged model, and not the base",
    "hand-over": "weights handed over to vLLM in place",
}
SERVED: tuple[Line, ...] = ("served", "adapter", "hand-over")


@dataclass(frozen=True)
class Family:
    name: str
    tokens: str
    """Of its tokenizer and template in `tests.published.SOURCES`."""
    kind: str
    """Its model_type."""
    changes: dict[str, Any] = field(default_factory=dict, hash=False)
    """What its configuration has beside that of `tests.training.learner.kinds`."""
    vocabulary: int = 0

    def save(self, folder: Path, **changes: Any) -> Path:
        """Write a tiny random model of the family with its tokenizer and template; once."""
        if not folder.exists():
            lay(self.tokens, folder)
            end = tokenizer(self.tokens, folder).convert_tokens_to_ids(SOURCES[self.tokens].end)
            more = {"vocab_size": self.vocabulary, "eos_token_id": end} | self.changes | changes
            kinds.random_model(self.kind, **more).save_pretrained(folder)
        return folder

    def load(self, folder: Path) -> PreTrainedModel:
        """Write the model with its tokenizer and template, and read it."""
        found: PreTrainedModel = AutoModelForCausalLM.from_pretrained(self.save(folder))
        return found

    def __str__(self) -> str:
        return self.name


TIED = {"tie_word_embeddings": True}
FAMILIES = (
    Family("SmolLM2", "smollm2", "llama", TIED, 151_936),
    Family("Llama 3", "llama-3", "llama", vocabulary=128_256),
    Family("Llama 3.2", "llama-3.2", "llama", TIED, 128_256),
    Family("Qwen3", "qwen3", "qwen3", TIED, 151_936),
    # as published; with larger weights the rounding to bfloat16, in which vLLM computes it, grows faster than what is learned
    Family("Qwen3.5", "qwen3.5", "qwen3_5", {"initializer_range": 0.02}, 151_936),
    Family("Gemma 3", "gemma-3", "gemma3", {"layer_types": ["sliding_attention", "full_attention"]}, 262_208),
    Family("Mistral", "mistral", "mistral", {"sliding_window": None}, 32_000),
    Family("Llama 2", "llama-2", "llama", vocabulary=32_000),
    Family("gpt-oss", "gpt-oss", "gpt_oss", {"num_local_experts": 4, "num_experts_per_tok": 2}, 201_088),
    Family(
        "Qwen3-MoE", "qwen3", "qwen3_moe", {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}, 151_936
    ),
    Family("Mixtral", "mistral", "mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}, 32_000),
)  # fmt: skip
PUBLISHED = [one for one in FAMILIES if one.name in ("Llama 3.2", "Qwen3")]
"""Families with their own tokenizers and templates, which the oracles compute too."""
Key = tuple[Line, Family]
MIXTURES = frozenset({"gpt-oss", "Qwen3-MoE", "Mixtral"})


@dataclass(frozen=True)
class Cell:
    """What the table says of a family in a line. `sentence` is the refusal, with {} for the model's folder, or the reason why it was not tried."""

    result: Literal["holds", "refused", "not tried", "fails"] = "holds"
    sentence: str = ""


_LEFT_OUT = "The chat template in {} leaves out tool calls: use a model whose template supports tools, or leave the conversations with tools out of the data."
_REFUSES = (
    "The chat template in {{}} refuses a conversation: {}. Its roles are user, assistant, tool, assistant: change the conversation, or use a model "
    "whose template takes it."
)
_ALTERNATES = _REFUSES.format("Conversation roles must alternate user/assistant/user/assistant/")
WITHOUT_TOOLS = {
    "smollm2": _LEFT_OUT, "llama-3": _LEFT_OUT, "gemma-3": _ALTERNATES, "llama-2": _ALTERNATES, "mistral": _ALTERNATES,
    "deepseek-v3": _REFUSES.format('can only concatenate str (not "dict") to str'),
}  # fmt: skip
"""What is said of tool calls for templates without them."""


def expected(line: Line, family: Family) -> Cell:
    """Return what the tests of a cell assert."""
    if family.name in MIXTURES:
        if line in ("sft", "dpo", "reward_model", "grpo"):
            return Cell(
                "refused",
                f"The model in {{}} is a mixture of experts ({family.kind}), which cannot be trained here: choose a dense model.",
            )
        if line == "computed" and family.name == "gpt-oss":  # whose attention has sinks
            return Cell(
                "refused",
                f"The model in {{}} is of a kind that is not supported: gpt_oss (its attention differs from its own). Supported are {SUPPORTED}.",
            )
        if line in ("export", *SERVED):
            return Cell("not tried", "Nothing is trained of a mixture of experts, so there is nothing to export.")
    if line == "tools" and family.tokens in WITHOUT_TOOLS:
        return Cell("refused", WITHOUT_TOOLS[family.tokens])
    return Cell()


def cells_of(item: pytest.Item) -> list[Key]:
    """Return the cells that a test shows: its lines for its family, or for all families with its tokenizer."""
    values = getattr(item, "callspec").params if hasattr(item, "callspec") else {}  # noqa: B009 - Item does not declare it
    family = values.get("family")
    named = [*(mark.args for mark in item.iter_markers("table")), (values.get("recipe"),)]
    lines = [line for args in named for line in args if line in LINES]
    return [(line, one) for line in lines for one in FAMILIES if family in (one, one.tokens)]
