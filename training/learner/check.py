"""Checks that what is computed here is the model, once, before its weights are loaded.

A small model of the same kind, with random weights in float32 and one layer of each type, must give a text the same log-probabilities three times:

    alone by transformers' own eager attention  =  alone as it is trained here  =  among other texts, as it is trained here

and a later token must change no earlier one. So the check takes a second and little memory whatever the model's size, and
it is the same on all processes and in all precisions. It finds kinds of models that drop or ignore our attention (a causal mask of
their own, positions of their own, texts of a packed row that see each other).
"""

from __future__ import annotations

import copy
import json
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)

from training.common.errors import MendableError, one_line
from training.common.records import Sample
from training.learner.attention import ATTENTION
from training.learner.batches import to_batch
from training.learner.scorer import LogprobHead, Scorer
from training.planning.shapes import MIXTURE, has_experts, positions

SUPPORTED = "Llama (SmolLM2 too), Mistral, Qwen2, Qwen3, Qwen3.5 and Gemma 3 (docs/models.md)"
"""Kinds that are known to hold: the page is made of their tests. Others are trained where this check finds that they hold."""
Tokens = npt.NDArray[np.int32]
TOLERANCE = 1e-3
"""In nats, of log-probabilities in float32. Kernels differ by 1e-5; a token that sees a wrong one, by a tenth and more."""
VOCABULARY, LONGEST = 64, 7
SMALL = {
    "num_hidden_layers": 2, "depth": 1, "intermediate_size": 256,
    "sliding_window": 4, "window_size": 4, "attention_chunk_size": 4, "attention_window": 4, "local_attention": 4,
}  # fmt: skip
"""The sizes of the small model. Windows are so small that a text goes beyond them."""
UNSUPPORTED = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")


def auto_class(*, reward: bool) -> Any:
    """Return transformers' class of causal language models, or of `reward` models with one output per text."""
    return AutoModelForSequenceClassification if reward else AutoModelForCausalLM


def read_config(folder: Path) -> PretrainedConfig:
    """Return the configuration of the model in a folder. Raises MendableError if it cannot be read, or is of an unknown kind."""
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises many kinds of errors for a damaged file
        raise MendableError(f"The model in {folder} cannot be read: {one_line(error)}") from error
    return config


def context_of(config: PretrainedConfig) -> int | None:
    """Return the positions that a model has, whatever its kind calls them; None where it has no limit."""
    return positions(config.get_text_config().to_dict())


def recurrent_layers(config: PretrainedConfig) -> list[str]:
    """Return the types of layers that carry a state from one text of a packed row into the next."""
    types = getattr(config.get_text_config(), "layer_types", None) or []
    return sorted(set(types) - {"full_attention", "sliding_attention", "chunked_attention"})


def adopt(model: PreTrainedModel) -> None:
    """Give a model our attention and our head. Raises MendableError for a head that is not a matrix alone."""
    model.set_attn_implementation(ATTENTION)
    text = model.config.get_text_config()
    for name in UNSUPPORTED:
        if getattr(text, name, None) not in (None, 1.0):
            raise MendableError(f"The model changes its logits by {name}, which is not supported.")
    head = model.get_output_embeddings()
    if head is not None:
        if head.bias is not None:
            raise MendableError("The model's output head has a bias, which is not supported.")
        model.set_output_embeddings(LogprobHead(head))


def check_model(folder: Path, config: PretrainedConfig, *, reward: bool, packing: bool, trained: bool) -> None:
    """Raise MendableError unless models of this kind compute here what transformers computes, and can be `trained` if they shall.

    `packing`: texts may be packed, where no layer is recurrent; otherwise they are rows.
    """
    if trained and has_experts(config.get_text_config().to_dict()):
        raise MendableError(MIXTURE.format(folder, config.model_type))
    if type(config) not in auto_class(reward=reward)._model_mapping:  # noqa: SLF001
        what = "reward" if reward else "language"
        raise MendableError(
            f"The model in {folder} cannot be read: transformers has no {what} model of its kind ({type(config).__name__}). Supported are {SUPPORTED}."
        )
    packed = packing and not recurrent_layers(config)
    if wrong := _wrong(cast("Any", type(config)), config.to_json_string(use_diff=False), reward, packed):
        raise MendableError(f"The model in {folder} {wrong}")


@lru_cache(maxsize=32)
def _wrong(kind: type[PretrainedConfig], values: str, reward: bool, packed: bool) -> str:
    """Return why models of this configuration are not supported, or nothing."""
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            models = _small(kind, values, reward)
            reason = _difference(*models, packed=packed)
            if reason and packed and not _difference(*models, packed=False):
                reason += "; with packing 'off' it is supported"
    except MendableError as error:
        return f"cannot be trained here: {error}"
    except Exception as error:  # noqa: BLE001 - what a kind of model lacks shows as errors of any type
        reason = f"it does not run with the attention of this library: {one_line(error)[:100]}"
    what = " as a reward model" if reward else ""
    return (
        reason and f"is of a kind that is not supported{what}: {kind.model_type} ({reason}). Supported are {SUPPORTED}."
    )


def _small(kind: type[PretrainedConfig], values: str, reward: bool) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Return two models with the same random weights, one layer of each type and a small vocabulary: with eager attention, and with ours."""
    config = kind.from_dict(json.loads(values))
    text = config.get_text_config()
    parts = [getattr(config, name, None) for name in getattr(config, "sub_configs", {})]
    for part in (config, text, *parts):
        for name, most in SMALL.items():
            if isinstance(getattr(part, name, None), int):
                setattr(part, name, min(getattr(part, name), most))
    if types := list(dict.fromkeys(getattr(text, "layer_types", None) or [])):
        text.num_hidden_layers, text.layer_types = len(types), types
    text.vocab_size = VOCABULARY
    for part in (config, text):
        part.pad_token_id = part.bos_token_id = part.eos_token_id = None
        part.num_labels = 1
    make = auto_class(reward=reward).from_config
    # each with a configuration of its own, which holds its attention
    eager, ours = (
        make(copy.deepcopy(config), dtype=torch.float32, attn_implementation=one).eval() for one in ("eager", ATTENTION)
    )
    torch.manual_seed(0)
    for one in eager.parameters():
        if one.ndim > 1:
            one.normal_(0, one.shape[-1] ** -0.5)
        else:
            one += 0.1 * torch.randn_like(one)
    ours.load_state_dict(eager.state_dict())
    adopt(ours)
    return eager, ours


def _difference(eager: PreTrainedModel, ours: PreTrainedModel, *, packed: bool) -> str:
    """Return what differs, or nothing."""
    window = getattr(eager.config.get_text_config(), "sliding_window", None) or LONGEST
    chance = np.random.default_rng(0)
    texts = [chance.integers(0, VOCABULARY, min(length, window)).astype(np.int32) for length in (5, LONGEST, 3)]
    longest = chance.integers(0, VOCABULARY, LONGEST).astype(np.int32)
    expected = [_eager(eager, text) for text in texts]
    alone = [_ours(ours, [text], packed)[0] for text in texts]
    others = _ours(ours, texts, packed)
    changed = [np.append(text[:-1], (text[-1] + 1) % VOCABULARY).astype(np.int32) for text in texts]
    earlier = [] if hasattr(ours, "score") else [_ours(ours, [text], packed)[0][:-1] for text in changed]
    try:
        far = _ours(ours, [longest], packed)
    except MendableError:  # our attention refuses a text that is longer than a window
        far = []
    for what, one, other in (
        ("its attention differs from its own", expected, alone),
        ("texts in one row change each other" if packed else "padding changes a text", expected, others),
        ("a later token changes earlier ones", [text[: len(text) - 1] for text in expected] if earlier else [], earlier),
        ("tokens see beyond its window", [_eager(eager, longest)] if far else [], far),
    ):  # fmt: skip
        if not all(_close(*pair) for pair in zip(one, other, strict=True)):
            return what
    return ""


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(((one - other).abs() <= TOLERANCE).all())


def _eager(model: PreTrainedModel, text: Tokens) -> torch.Tensor:
    tokens = torch.from_numpy(text)[None].long()
    logits: torch.Tensor = model(input_ids=tokens, use_cache=False).logits
    return logits[0] if hasattr(model, "score") else logits[0, :-1].log_softmax(-1).gather(1, tokens[0, 1:, None])[:, 0]


def _ours(model: PreTrainedModel, texts: list[Tokens], packed: bool) -> list[torch.Tensor]:
    samples = [Sample(text, np.ones(len(text), dtype=np.float32)) for text in texts]
    found: torch.Tensor = Scorer(model)(to_batch(samples, packed=packed, device=torch.device("cpu")))
    return list(torch.split(found, [1 if hasattr(model, "score") else len(text) - 1 for text in texts]))
