"""Models from folders in Hugging Face's layout, ready to learn.

Nothing is fetched, no code of a model is run, and no pickle is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from training.common.errors import MendableError
from training.config.learner import LearnerSettings, Lora
from training.learner.attention import ATTENTION
from training.learner.engine import DTYPES
from training.learner.recompute import keeping_attention
from training.learner.scorer import LogprobHead


def load_model(folder: Path, settings: LearnerSettings, *, reward: bool = False) -> PreTrainedModel:
    """A model ready to learn: causal, or with one number a text (`reward`), with adapters if asked for."""
    check_folder(folder)
    kind: Any = AutoModelForSequenceClassification if reward else AutoModelForCausalLM
    more = {"num_labels": 1} if reward else {}
    model: PreTrainedModel
    try:
        model, found = kind.from_pretrained(
            folder,
            dtype=DTYPES[settings.precision],
            attn_implementation=ATTENTION,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are named in `found`, and refused below in our words
            **more,
        )
    except Exception as error:  # what transformers raises of a folder that is not sound has no end
        raise MendableError(f"The model in {folder} cannot be read: {in_a_line(error)}") from error
    check_weights(folder, model, found, new={"score.weight"} if reward else set())
    return prepare(model, settings)


def in_a_line(error: Exception) -> str:
    """What an error says; of a long one its beginning."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= 300 else said[:300] + " ..."


def check_weights(folder: Path, model: PreTrainedModel, found: dict[str, Any], new: set[str]) -> None:
    """That the weights are those that the configuration asks for: transformers makes up what is missing, and only warns.

    Weights of parts that this model does not have (a reward model's lack of a vocabulary, a picture's encoder) may be left over;
    weights of its own parts, such as a layer more, may not.
    """
    shapes = {name: (there, asked) for name, there, asked in found["mismatched_keys"]}
    if shapes:
        name, (there, asked) = min(shapes.items())
        raise MendableError(
            f"The weights in {folder} do not fit its config.json: {name} is {list(there)}, and the configuration asks for "
            f"{list(asked)} ({len(shapes)} such)."
        )
    own = {re.sub(r"\d+", "#", name) for name in model.state_dict()}
    left = sorted(name for name in found["unexpected_keys"] if re.sub(r"\d+", "#", name) in own)
    for names, what in ((sorted(set(found["missing_keys"]) - new), "lack"), (left, "have more than")):
        if names:
            raise MendableError(
                f"The weights in {folder} {what} what its config.json asks for: {names[0]} ({len(names)} such). Take the model from "
                "where it came from once more."
            )


def prepare(model: PreTrainedModel, settings: LearnerSettings) -> PreTrainedModel:
    """What a model needs to learn here, whether it came from a folder or from a test."""
    model.set_attn_implementation(ATTENTION)
    text = model.config.get_text_config()
    for name in ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier"):
        if getattr(text, name, None) not in (None, 1.0):
            raise MendableError(f"The model changes its logits by {name}, which is not supported here.")
    head = model.get_output_embeddings()
    if head is not None:
        if head.bias is not None:
            raise MendableError("The model's output head has a bias, which is not supported here.")
        model.set_output_embeddings(LogprobHead(head))
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": keeping_attention})
    model.config.use_cache = False
    model.train()
    return with_adapters(model, settings.lora) if settings.lora else model


def with_adapters(model: PreTrainedModel, lora: Lora) -> PreTrainedModel:
    from peft import LoraConfig, TaskType, get_peft_model

    reward = hasattr(model, "score")
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        task_type=TaskType.SEQ_CLS if reward else TaskType.CAUSAL_LM,
        modules_to_save=["score"] if reward else None,
    )
    adapted: PreTrainedModel = get_peft_model(model, config, autocast_adapter_dtype=False)
    return adapted


def room(folder: Path, context: int, say: Callable[[str], None]) -> int:
    """The most tokens of a text: `context`, or the model's own positions where these are fewer, which is said."""
    check_folder(folder)
    values = json.loads((folder / "config.json").read_bytes())
    text = values.get("text_config")
    positions = (text if isinstance(text, dict) else values).get("max_position_embeddings")
    if not isinstance(positions, int) or positions >= context:
        return context
    say(f"The model has {positions:,} positions, fewer than context ({context:,}): no text may be longer than that.")
    return positions


def check_folder(folder: Path) -> None:
    """That a folder holds a model in safetensors; what is wrong is said in a line."""
    if not (folder / "config.json").is_file():
        raise MendableError(f"There is no model in {folder}: it has no config.json.")
    try:
        values = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise MendableError(f"{folder / 'config.json'} is not JSON: {error}.") from None
    if not isinstance(values, dict):
        raise MendableError(f"{folder / 'config.json'} is not a model's configuration: it holds no names and values.")
    weights = list(folder.glob("*.safetensors"))
    pickles = [path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl") for path in folder.glob(pattern)]
    if not weights and pickles:
        raise MendableError(
            f"The weights in {folder} are a pickle ({pickles[0]}), which can run any program when it is read: convert the model "
            "to safetensors on a machine that trusts it."
        )
    if not weights:
        raise MendableError(f"There are no weights in {folder}: it has no file that ends in .safetensors.")


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    if not folder.is_dir():
        raise MendableError(f"There is no model in {folder}: no such folder.")
    if not (folder / "tokenizer.json").is_file():  # without it transformers would make an empty one
        check_folder(folder)
        raise MendableError(f"There is no tokenizer in {folder}: it has no tokenizer.json.")
    if (folder / "config.json").exists():  # a tokenizer may stand alone
        check_folder(folder)
    try:
        tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the tokenizers' library raises Exception itself
        raise MendableError(f"The tokenizer in {folder} cannot be read: {in_a_line(error)}") from error
    if not tokenizer.is_fast:
        raise MendableError(f"The tokenizer in {folder} is not a fast one (tokenizer.json), which is needed here.")
    return tokenizer


def packs(model: PreTrainedModel, settings: LearnerSettings, say: Callable[[str], None]) -> bool:
    """Whether texts lie packed, one after another. Asked for in vain it is an error; by itself it falls back to rows, and says so.

    Layers with a recurrent state (Qwen3.5's gated delta net) carry it over the end of a text, and attention masks hide nothing of
    that (Yang et al., arXiv 2412.06464). Only the GPU kernels of flash-linear-attention and causal-conv1d stop at the ends that are given to them.
    """
    text = model.config.get_text_config()
    recurrent = sorted(set(getattr(text, "layer_types", None) or []) - {"full_attention", "sliding_attention"})
    if settings.packing == "off" or not recurrent or _kernels_for_recurrent_layers():
        return settings.packing != "off"
    reason = (
        f"its layers of the kind {', '.join(recurrent)} carry their state from one text into the next, and the kernels that stop at "
        "a text's end (flash-linear-attention and causal-conv1d, on a GPU) are not here"
    )
    if settings.packing == "on":
        raise MendableError(f"This model cannot read packed texts: {reason}. Set packing to 'auto' or 'off'.")
    say(f"Texts lie in rows of like length, not packed: {reason}.")
    return False


def _kernels_for_recurrent_layers() -> bool:
    from transformers.utils.import_utils import is_causal_conv1d_available, is_flash_linear_attention_available

    return torch.cuda.is_available() and is_causal_conv1d_available() and is_flash_linear_attention_available()
