"""The adapter that a run continues, in peft's layout: its rank and alpha. Does not import torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from training.common.errors import MendableError
from training.config.learner import Lora
from training.config.recipe import RecipeSettings

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_OTHER_KINDS = (
    "modules_to_save", "rank_pattern", "alpha_pattern", "layers_to_transform", "layer_replication", "target_parameters", "trainable_token_indices",
    "alora_invocation_tokens", "lora_bias", "use_rslora", "use_dora", "use_qalora", "use_bdlora", "arrow_config", "kasa_config", "monteclora_config",
    "velora_config",
)  # fmt: skip
"""Fields of peft's LoraConfig which change what an adapter computes, or what belongs to it."""
_CHANGE_THE_BASE = ("pissa", "olora", "loftq", "corda", "lora_ga")
"""Ways of beginning an adapter that also change the weights of its model."""

S = TypeVar("S", bound=RecipeSettings)


def with_adapter(settings: S) -> S:
    """Return the settings with the rank and alpha of the adapter that the run continues, if it continues one.

    Raises MendableError for other values than the adapter's, and for an adapter that cannot be read or continued.
    """
    if settings.adapter is None:
        return settings
    lora, own = settings.learner.lora or Lora(), read_lora(settings.adapter)
    for name, value in own.items():
        if name in lora.model_fields_set and getattr(lora, name) != value:
            raise MendableError(
                f"The adapter in {settings.adapter}, which the run continues, has {name} {value}, and learner.lora.{name} is {getattr(lora, name)}: "
                "leave that out, or begin from the model that the adapter is merged into."
            )
    learner = settings.learner.model_copy(update={"lora": lora.model_copy(update=own)})
    return settings.model_copy(update={"learner": learner})


def read_lora(folder: Path) -> dict[str, int]:
    """Return the rank and alpha of an adapter. Raises MendableError for one that is not plain LoRA on whole linear layers, as our runs write it."""
    check_adapter_folder(folder)
    try:
        values: dict[str, Any] = json.loads((folder / CONFIG).read_bytes())
        start = str(values.get("init_lora_weights"))
        plain = (
            values.get("peft_type") == "LORA"
            and values.get("bias", "none") == "none"
            and not any(values.get(name) for name in _OTHER_KINDS)
            and not start.startswith(_CHANGE_THE_BASE)
        )
        found = {"rank": values["r"], "alpha": values["lora_alpha"]} if plain else {}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise MendableError(f"The adapter in {folder} cannot be read: {CONFIG} is not one of LoRA ({error}).") from None
    if not plain:
        raise MendableError(
            f"The adapter in {folder} cannot be continued, since it is not plain LoRA: merge it into its model, and begin from that."
        )
    try:
        lora = Lora.model_validate(found)
    except ValidationError:
        raise MendableError(
            f"The adapter in {folder} cannot be continued, since its rank ({found['rank']}) or alpha ({found['alpha']}) is not one that a run may have: "
            "merge it into its model, and begin from that."
        ) from None
    return {"rank": lora.rank, "alpha": lora.alpha}


def check_adapter_folder(folder: Path) -> None:
    """Raise MendableError unless a folder holds an adapter in safetensors."""
    if not (folder / CONFIG).is_file():
        raise MendableError(f"There is no adapter in {folder}: it has no {CONFIG}.")
    if not (folder / WEIGHTS).is_file():
        pickle = " It has a pickle, which can run code when it is loaded." * any(folder.glob("*.bin"))
        raise MendableError(f"There are no weights of an adapter in {folder}: it has no {WEIGHTS}.{pickle}")
