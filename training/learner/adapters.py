"""Continues an adapter: gives a model's new adapters the weights of a file in peft's layout."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel

from training.common.errors import MendableError
from training.config.adapter import WEIGHTS
from training.learner.names import adapter_weights


@torch.no_grad()
def load_adapter(model: PreTrainedModel, folder: Path, base: str = "") -> None:
    """Copy an adapter's weights into the adapters of `model`, which have its rank and alpha. `base` is the SHA-256 of the model's folder.

    Raises MendableError unless it is one of this model, on the same layers.
    """
    own = adapter_weights(dict(model.named_parameters()), model)
    try:
        with safe_open(folder / WEIGHTS, "pt") as file:
            trained_on = (file.metadata() or {}).get("base", base)
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    except (OSError, SafetensorError) as error:
        raise MendableError(f"The adapter in {folder} cannot be read: {error}") from error
    if base and trained_on != base:
        raise MendableError(
            f"The adapter in {folder} is one of another model: begin from the model that it was trained on."
        )
    for name in sorted(own.keys() | found.keys()):
        if name not in own or name not in found:
            has = "has weights for" if name in found else "has none for"
            raise MendableError(
                f"The adapter in {folder} cannot be continued on this model, whose adapters are on all linear layers except the head: it {has} {name}. "
                "Begin from the model that it was trained on, or merge it into that."
            )
        if own[name].shape != found[name].shape:
            raise MendableError(
                f"The adapter in {folder} is not one of this model: {name} has shape {list(found[name].shape)}, and the model needs "
                f"{list(own[name].shape)}. Begin from the model that it was trained on."
            )
    for name, one in own.items():
        one.copy_(found[name])
