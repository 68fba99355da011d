"""Writes models as folders in Hugging Face's layout: configuration, safetensors, tokenizer and card.

Adapters are merged into the model's weights, and also written to a folder of their own in peft's layout, which a server that already runs the
base model can load.
"""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import PreTrainedModel

from training.common.errors import MendableError
from training.config.learner import LearnerSettings
from training.learner.check import auto_class, read_config
from training.learner.engine import dtype_of
from training.learner.models import check_weights, load_tokenizer
from training.learner.names import adapter_weights, bare_model, merge_adapters, source_weights
from training.learner.probe import Outputs, Tokens, eager_outputs

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1}
"""In nats a token, or of a reward: by how much an export may differ from the learner, whose attention and adapters are computed in another order."""


def save_model(
    weights: dict[str, torch.Tensor],
    model: PreTrainedModel,
    source: Path,
    folder: Path,
    card: str,
    settings: LearnerSettings,
    probe: tuple[Tokens, Outputs],
    base: str = "",
) -> None:
    """Write a model's folder atomically, with the tokenizer of `source`. `weights` have the names that the learner's engine gives them; `base` is the
    SHA-256 of `source`, which the adapter's file names, so that it is continued on no other model.

    Raises MendableError if transformers, reading the folder, does not compute what the learner does: `probe` is a text, and the learner's outputs.
    """
    weights = {name.removeprefix("model."): one for name, one in weights.items()}
    bare = bare_model(model)
    temporary = folder.with_name(f".{folder.name}-writing")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    if model is not bare:
        _save_adapter(weights, model, source, folder.with_name("adapter"), base)
        weights = merge_adapters(weights, model)
    weights = source_weights(weights, model)
    if type(bare.config) is type(read_config(source)):
        bare.config.architectures = [type(bare).__name__]
        bare.config.save_pretrained(temporary)
    else:  # the language model of a model that has other parts too, which are kept
        weights |= _other_parts(source, {*weights, *bare.all_tied_weights_keys})
        for path in [source / "config.json", *source.glob("*processor_config.json")]:
            shutil.copyfile(path, temporary / path.name)
    _set_config(temporary / "config.json", dtype_of(settings))
    _save_weights(weights, temporary)
    del weights
    if (source / "generation_config.json").is_file():
        shutil.copyfile(source / "generation_config.json", temporary / "generation_config.json")
    load_tokenizer(source).save_pretrained(temporary)
    (temporary / "README.md").write_text(card, encoding="utf-8")
    for path in temporary.iterdir():
        path.chmod(0o644)  # safetensors makes files that only their owner can read; the server may be another user
    read_back(temporary, *probe, dtype_of(settings), reward=hasattr(bare, "score"))
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def read_back(folder: Path, text: Tokens, expected: Outputs, dtype: torch.dtype, *, reward: bool) -> None:
    """Raise MendableError unless transformers loads all weights of the folder, and computes the `expected` outputs of a text."""
    model, found = auto_class(reward=reward).from_pretrained(
        folder,
        dtype=dtype,
        attn_implementation="eager",
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    check_weights(folder, model, found, new=set())
    difference = float(np.abs(eager_outputs(model.eval(), text) - expected).mean())
    if not difference <= TOLERANCE[dtype] * max(1.0, float(np.abs(expected).max()) if reward else 1.0):
        raise MendableError(
            f"The model that was written to {folder}, read by transformers, differs from the trained one by {difference:.4f} nats a token, so it was "
            "not kept. The run's checkpoints hold what was learned. Please report it, with the kind of the model."
        )


def _set_config(path: Path, dtype: torch.dtype) -> None:
    values = json.loads(path.read_text()) | {"use_cache": True}
    for part in (values, *(one for one in values.values() if isinstance(one, dict) and "dtype" in one)):
        part.pop("torch_dtype", None)
        part["dtype"] = str(dtype).removeprefix("torch.")
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")


def _other_parts(source: Path, own: set[str]) -> dict[str, torch.Tensor]:
    """Return the weights of the source that the language model does not have, such as an image encoder's."""
    found: dict[str, torch.Tensor] = {}
    for path in sorted(source.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found |= {name: file.get_tensor(name) for name in file.keys() if name not in own}  # noqa: SIM118 - not a dictionary
    return found


SHARD_BYTES = 5 * 2**30


def _save_weights(weights: dict[str, torch.Tensor], folder: Path) -> None:
    from huggingface_hub import split_torch_state_dict_into_shards

    kept = {name: one.detach().cpu().contiguous() for name, one in weights.items()}
    plan = split_torch_state_dict_into_shards(kept, max_shard_size=SHARD_BYTES)
    for name, parts in plan.filename_to_tensors.items():
        save_file({part: kept[part] for part in parts}, folder / name, metadata={"format": "pt"})
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def _save_adapter(
    weights: dict[str, torch.Tensor], model: PreTrainedModel, source: Path, folder: Path, base: str
) -> None:
    """Write the adapters, before the model's own folder, whose existence means that everything is complete."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = copy.copy(cast("Any", model).peft_config["default"])
    config.base_model_name_or_path, config.inference_mode = source.name, True
    # by their last names, since the source may have other ones before them
    config.target_modules = {name.rpartition(".")[2] for name in config.target_modules}
    config.save_pretrained(folder)
    adapter = {name: one.detach().cpu().contiguous() for name, one in adapter_weights(weights, model).items()}
    metadata = {"format": "pt"} | ({"base": base} if base else {})
    save_file(adapter, folder / "adapter_model.safetensors", metadata=metadata)
    for path in folder.iterdir():
        path.chmod(0o644)
