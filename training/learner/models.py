"""Loads models for training from folders in Hugging Face's layout. Nothing is downloaded, no code of a model is run, and no pickle is read."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast
from transformers.pytorch_utils import Conv1D

from training.common.errors import MendableError, one_line
from training.common.model_folder import check_folder
from training.config.learner import LearnerSettings, Lora
from training.learner.attention import ATTENTION
from training.learner.check import adopt, auto_class, check_model, context_of, read_config, recurrent_layers
from training.learner.engine import dtype_of
from training.learner.merged import merge_in_products
from training.learner.parts import loaded_in_parts
from training.learner.recompute import keep_attention_outputs


def load_model(
    folder: Path, settings: LearnerSettings, *, reward: bool = False, trained: bool = True
) -> PreTrainedModel:
    """Load a causal language model, or a `reward` model with one output per text, with adapters if the settings have them.

    Raises MendableError for a folder, weights or a model that cannot be read, or `trained`, here.
    """
    check_kind(folder, settings, reward=reward, trained=trained)
    kind = auto_class(reward=reward)
    more = {"num_labels": 1} if reward else {}
    model: PreTrainedModel
    try:
        with loaded_in_parts(settings):
            model, found = kind.from_pretrained(
                folder,
                dtype=dtype_of(settings),
                attn_implementation=ATTENTION,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported in `found` and refused below, with a message of our own
                **more,
            )
    except Exception as error:  # transformers raises many kinds of errors for a damaged folder
        raise MendableError(f"The model in {folder} cannot be read: {one_line(error)}") from error
    check_weights(folder, model, found, new={"score.weight"} if reward else set())
    model = prepare(model, settings)
    if trained and not any(one.requires_grad for one in model.parameters()):
        raise MendableError(f"The model in {folder} has no weights that are trained: all of them are frozen.")
    return model


def check_kind(folder: Path, settings: LearnerSettings, *, reward: bool = False, trained: bool = True) -> None:
    """Raise MendableError unless a folder holds a model of a kind that can be read, or `trained`, here. Reads no weights."""
    check_folder(folder)
    check_model(folder, read_config(folder), reward=reward, packing=settings.packing != "off", trained=trained)


def check_weights(folder: Path, model: PreTrainedModel, found: dict[str, Any], new: set[str]) -> None:
    """Raise MendableError unless the weights match the configuration: transformers initialises missing ones, and only warns.

    Weights of parts that this model does not have (the vocabulary head in a reward model, an image encoder) may be left over;
    weights of its own parts, such as another layer, may not. `new` names weights that may be missing.
    """
    shapes = {name: (actual, expected) for name, actual, expected in found["mismatched_keys"]}
    if shapes:
        name, (actual, expected) = min(shapes.items())
        raise MendableError(
            f"The weights in {folder} do not match its config.json: {name} has shape {list(actual)}, and the configuration "
            f"{list(expected)} ({len(shapes)} such). Download the model again."
        )
    own = {re.sub(r"\d+", "#", name) for name in model.state_dict()}
    left_over = sorted(name for name in found["unexpected_keys"] if re.sub(r"\d+", "#", name) in own)
    for names, what in ((sorted(set(found["missing_keys"]) - new), "lack"), (left_over, "have more than")):
        if names:
            raise MendableError(
                f"The weights in {folder} {what} what its config.json describes: {names[0]} ({len(names)} such). Download the model again."
            )


def prepare(model: PreTrainedModel, settings: LearnerSettings) -> PreTrainedModel:
    """Return the model ready for training: our attention and head, gradient checkpointing, adapters. Raises MendableError if it cannot be."""
    adopt(model)
    for name in other_parts(model):
        model.get_submodule(name).requires_grad_(False)
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": keep_attention_outputs})
    model.config.use_cache = False
    model.train()
    if settings.lora:
        model = add_adapters(model, settings.lora)
        if not settings.zero_stage:
            merge_in_products(model)
    return model


def other_parts(model: PreTrainedModel) -> list[str]:
    """Return the names of the parts that read no text, such as an image encoder."""
    base: Any = model.base_model
    decoder = base.get_decoder()
    if decoder is base:
        return []
    prefix = model.base_model_prefix
    return [f"{prefix}.{name}" for name, part in base.named_children() if decoder not in list(part.modules())]


def add_adapters(model: PreTrainedModel, lora: Lora) -> PreTrainedModel:
    from peft import LoraConfig, TaskType, get_peft_model

    reward = hasattr(model, "score")
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        exclude_modules="|".join(rf"{re.escape(name)}\..*" for name in other_parts(model)) or None,
        task_type=TaskType.SEQ_CLS if reward else TaskType.CAUSAL_LM,
        modules_to_save=["score"] if reward else None,
        fan_in_fan_out=any(isinstance(one, Conv1D) for one in model.modules()),
    )
    try:
        adapted: PreTrainedModel = get_peft_model(model, config, autocast_adapter_dtype=False)
    except ValueError as error:
        raise MendableError(f"This model cannot have adapters: {one_line(error)} Train all of its weights.") from error
    return adapted


def max_text_tokens(folder: Path, context: int, log: Callable[[str], None]) -> int:
    """Return the most tokens that a text may have: `context`, or the model's positions if these are fewer, which is logged."""
    check_folder(folder)
    positions = context_of(read_config(folder))
    if positions is None or positions >= context:
        return context
    log(f"The model has {positions:,} positions, fewer than context ({context:,}): no text may be longer than that.")
    return positions


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Load a fast tokenizer, with or without a model beside it. Raises MendableError if there is none."""
    if not (folder / "tokenizer.json").is_file():  # without it transformers would return an empty tokenizer
        check_folder(folder)
        raise MendableError(f"There is no tokenizer in {folder}: it has no tokenizer.json.")
    if (folder / "config.json").exists():
        check_folder(folder)
    try:
        tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the tokenizers library raises plain Exception
        raise MendableError(f"The tokenizer in {folder} cannot be read: {one_line(error)}") from error
    if not tokenizer.is_fast:
        raise MendableError(f"The tokenizer in {folder} is not a fast one (tokenizer.json), which is required.")
    return tokenizer


def can_pack(model: PreTrainedModel, settings: LearnerSettings, log: Callable[[str], None]) -> bool:
    """Return whether texts can be packed. With packing "auto" a model that cannot is logged; with "on" it raises MendableError.

    Layers with a recurrent state (Qwen3.5's gated delta net) carry it from one text into the next, which no attention mask prevents
    (Yang et al., arXiv 2412.06464). Only the GPU kernels of flash-linear-attention and causal-conv1d reset it where a text ends.
    """
    recurrent = recurrent_layers(model.config)
    if settings.packing == "off" or not recurrent or _kernels_for_recurrent_layers():
        return settings.packing != "off"
    reason = (
        f"its layers of type {', '.join(recurrent)} carry their state from one text into the next, and the kernels that reset it "
        "(flash-linear-attention and causal-conv1d, on a GPU) are not installed"
    )
    if settings.packing == "on":
        raise MendableError(f"This model cannot read packed texts: {reason}. Set packing to 'auto' or 'off'.")
    log(f"Texts are padded rows of similar length, not packed: {reason}.")
    return False


def _kernels_for_recurrent_layers() -> bool:
    from transformers.utils.import_utils import is_causal_conv1d_available, is_flash_linear_attention_available

    return torch.cuda.is_available() and is_causal_conv1d_available() and is_flash_linear_attention_available()
