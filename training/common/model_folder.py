"""Whether a folder holds a model in Hugging Face's layout, with all its weights in safetensors. Only small files and heads of files are read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from training.common.errors import MendableError

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_AGAIN = "Download the model again."
_MOST_HEAD = 100 * 2**20
"""Bytes of the head of a safetensors file: the format's own limit."""


def check_folder(folder: Path) -> dict[str, Any]:
    """Return the values of a model's config.json. Raises MendableError unless the folder holds one model, whole, in safetensors."""
    if not folder.is_dir():
        raise MendableError(f"There is no model in {folder}: no such folder.")
    names = {path.name for path in folder.iterdir()}
    _check_adapter(folder, names)
    gguf = any(name.endswith(".gguf") for name in names)
    what = " It holds a GGUF file; use the model's folder with weights in safetensors instead." if gguf else ""
    if "config.json" not in names:
        raise MendableError(
            f"There is no model in {folder}: it has no config.json.{what or ' Is it the right folder?'}"
        )
    values = read_object(folder / "config.json")
    weights = sorted(name for name in names if name.endswith(".safetensors"))
    if not weights:
        if pickles := sorted(name for name in names if name.endswith(PICKLES)):
            raise MendableError(
                f"The weights in {folder} are a pickle ({pickles[0]}), which can run code when it is loaded: convert the model "
                "to safetensors on a machine that trusts it."
            )
        if "model.safetensors.index.json" not in names:
            raise MendableError(
                f"There are no weights in {folder}: it has no file that ends in .safetensors.{what or f' {_AGAIN}'}"
            )
    missing, parts = _missing(folder, weights)
    if missing:
        raise MendableError(
            f"The model in {folder} cannot be read: {missing} of the {parts} parts of the weights are missing, and there is no "
            f"model.safetensors that is whole. {_AGAIN}"
        )
    for name in weights:
        if not _whole(folder / name):
            raise MendableError(
                f"The model in {folder} cannot be read: {name} is incomplete or not a safetensors file. {_AGAIN}"
            )
    return values


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file of a model. Raises MendableError."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise MendableError(
            f"{path} is not JSON: {error}. What cannot be read as JSON may be cut off. {_AGAIN}"
        ) from None
    if not isinstance(values, dict):
        raise MendableError(
            f"{path} is not a model's configuration: it cannot be read as JSON with names and values. {_AGAIN}"
        )
    return values


def _check_adapter(folder: Path, names: set[str]) -> None:
    adapters = [name for name in ("adapter_config.json", "adapter_model.safetensors") if name in names]
    if not adapters:
        return
    config = read_object(folder / adapters[0]) if adapters[0].endswith(".json") else {}
    base = config.get("base_model_name_or_path") or "its base model"
    which = (
        "beside a model, and it is not clear which of the two is meant: move the adapter into a folder of its own."
        if "config.json" in names
        else "and not a whole model."
    )
    raise MendableError(
        f"{folder} holds an adapter ({adapters[0]}) {which} Serve {base}, or merge the adapter into it."
    )


def _missing(folder: Path, weights: list[str]) -> tuple[int, int]:
    """Return the number of parts of the weights that are missing, by the index or by their own names, and that of all parts."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        named = read_object(index).get("weight_map")
        parts = set(map(str, named.values())) if isinstance(named, dict) else set()
        if missing := parts - set(weights):
            return len(missing), len(parts)
    for name in weights:
        if numbered := re.fullmatch(r"(.+)-\d+-of-(\d+)\.safetensors", name):
            of_it = re.compile(rf"{re.escape(numbered[1])}-\d+-of-{numbered[2]}\.safetensors")
            there, parts_named = sum(bool(of_it.fullmatch(one)) for one in weights), int(numbered[2])
            if there < parts_named:
                return parts_named - there, parts_named
    return 0, 0


def _whole(path: Path) -> bool:
    """Return whether a safetensors file has the size that its head states: eight bytes with the size of the JSON that follows, then the
    weights."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > _MOST_HEAD:
                return False
            head = json.loads(file.read(size))
        ends = [entry["data_offsets"][1] for name, entry in head.items() if name != "__metadata__"]
        return bool(ends) and path.stat().st_size == 8 + size + max(ends)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
