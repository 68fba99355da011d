"""Writes models as folders in Hugging Face's layout: configuration, safetensors, tokenizer and card.

Adapters are merged into the model's weights, and also written to a folder of their own in peft's layout, which a server that already runs the
base model can load.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from training.config.learner import LearnerSettings, Lora
from training.learner.engine import dtype_of
from training.learner.models import load_tokenizer


def save_model(
    weights: dict[str, torch.Tensor],
    model: PreTrainedModel,
    source: Path,
    folder: Path,
    card: str,
    settings: LearnerSettings,
) -> None:
    """Write a model's folder atomically, with the tokenizer of `source`. `weights` have the names that the learner's engine gives them."""
    weights = {name.removeprefix("model."): one for name, one in weights.items()}
    temporary = folder.with_name(f".{folder.name}-writing")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    if settings.lora:
        _save_adapter(weights, model, source, folder.with_name("adapter"))
        weights = merge_adapters(weights, settings.lora)
    config = (model.get_base_model() if settings.lora else model).config
    bare = type(model.get_base_model() if settings.lora else model)
    config.architectures = [bare.__name__]
    config.dtype = dtype_of(settings)
    config.save_pretrained(temporary)
    values = json.loads((temporary / "config.json").read_text()) | {"use_cache": True}
    (temporary / "config.json").write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
    _save_weights(weights, temporary, tied=bool(config.get_text_config().tie_word_embeddings))
    if (source / "generation_config.json").is_file():
        shutil.copyfile(source / "generation_config.json", temporary / "generation_config.json")
    load_tokenizer(source).save_pretrained(temporary)
    (temporary / "README.md").write_text(card, encoding="utf-8")
    for path in temporary.iterdir():
        path.chmod(0o644)  # safetensors makes files that only their owner can read; the server may be another user
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


SHARD_BYTES = 5 * 2**30


def _save_weights(weights: dict[str, torch.Tensor], folder: Path, *, tied: bool) -> None:
    from huggingface_hub import split_torch_state_dict_into_shards

    kept = {name: one.detach().cpu().contiguous() for name, one in weights.items()}
    if tied:
        kept.pop("lm_head.weight", None)
    plan = split_torch_state_dict_into_shards(kept, max_shard_size=SHARD_BYTES)
    for name, parts in plan.filename_to_tensors.items():
        save_file({part: kept[part] for part in parts}, folder / name, metadata={"format": "pt"})
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def _save_adapter(weights: dict[str, torch.Tensor], model: PreTrainedModel, source: Path, folder: Path) -> None:
    """Write the adapters, before the model's own folder, whose existence means that everything is complete."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = cast("Any", model).peft_config["default"]
    config.base_model_name_or_path, config.inference_mode = source.name, True
    config.save_pretrained(folder)
    adapter = {name: one.detach().cpu().contiguous() for name, one in adapter_weights(weights).items()}
    save_file(adapter, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    for path in folder.iterdir():
        path.chmod(0o644)


def adapter_weights(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the adapters' weights, under the names of peft's files."""
    return {
        name.replace(".default.weight", ".weight"): one
        for name, one in weights.items()
        if ".lora_A." in name or ".lora_B." in name
    }


def merge_adapters(weights: dict[str, torch.Tensor], lora: Lora) -> dict[str, torch.Tensor]:
    """Return the weights with adapters merged in, W + (alpha / rank) B A, under the names of the model without adapters."""
    plain: dict[str, torch.Tensor] = {}
    for name, one in weights.items():
        bare = name.removeprefix("base_model.model.")
        if ".lora_" in bare or ".original_module." in bare:
            continue
        bare = bare.replace(".base_layer.", ".").replace(".modules_to_save.default.", ".")
        down = weights.get(name.replace(".base_layer.weight", ".lora_A.default.weight"))
        if name.endswith(".base_layer.weight") and down is not None:
            up = weights[name.replace(".base_layer.weight", ".lora_B.default.weight")]
            change = (up.float() @ down.float()) * (lora.alpha / lora.rank)
            one = (one.float() + change).to(one.dtype)
        plain[bare] = one
    return plain
