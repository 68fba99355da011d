"""Names of weights: those of the learner's modules, and those of the source, the folder that the model was loaded from.

transformers renames weights when it loads them (a published Qwen3.5 has `model.language_model.layers`, its language model `model.layers`).
Whatever reads our weights beside the source, a vLLM server above all, looks for the source's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

Weights = Mapping[str, torch.Tensor]
_PEFT = "base_model.model."


def bare_model(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model itself, without the wrapper of its adapters."""
    bare: PreTrainedModel = model.get_base_model() if hasattr(model, "peft_config") else model
    return bare


def source_weights(weights: Weights, model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return weights of the model under the source's names, without those that are tied to others (a head that is the embedding)."""
    bare = bare_model(model)
    own = {name: one for name, one in weights.items() if name not in bare.all_tied_weights_keys}
    found: dict[str, torch.Tensor] = revert_weight_conversion(bare, own)
    return found


def adapter_weights(weights: Weights, model: PreTrainedModel | None) -> dict[str, torch.Tensor]:
    """Return the adapters' weights under the names of peft's files, with the source's names of the modules; without `model`, its own."""
    found = {}
    for name, one in weights.items():
        module, part, matrix = name.partition(".lora_")
        if part and matrix.split(".")[0] in "AB":
            matrix = matrix.replace(".default.", ".")
            found[f"{_PEFT}{_source_module(module.removeprefix(_PEFT), model)}{part}{matrix}"] = one
    return found


def _source_module(module: str, model: PreTrainedModel | None) -> str:
    if model is None:
        return module
    (name,) = source_weights({f"{module}.weight": torch.empty(0)}, model)
    return name.removesuffix(".weight")


def merge_adapters(weights: Weights, model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return the weights with adapters merged in, W + (alpha / rank) B A, under the names of the model without adapters."""
    from peft.tuners.lora import LoraLayer

    layers: dict[str, Any] = {name: one for name, one in model.named_modules() if isinstance(one, LoraLayer)}
    plain: dict[str, torch.Tensor] = {}
    for name, one in weights.items():
        if ".lora_" in name or ".original_module." in name:
            continue
        module, base, _ = name.partition(".base_layer.weight")
        if base:
            layer = layers[module]
            down, up = (weights[f"{module}.lora_{matrix}.default.weight"].float() for matrix in "AB")
            change = (up @ down) * layer.scaling["default"]
            # GPT-2's matrices (Conv1D) are stored the other way round
            one = (one.float() + (change.T if layer.fan_in_fan_out else change)).to(one.dtype)
        bare = name.removeprefix(_PEFT).replace(".base_layer.", ".").replace(".modules_to_save.default.", ".")
        plain[bare] = one
    return plain
