"""The shapes of models, read from `config.json` or known by name, and their numbers of parameters. Does not import torch.

The families are those whose layers are a gated feed-forward and attention: Llama, Mistral, Qwen2, Qwen3, Gemma 3, and Qwen3.5, three
quarters of whose layers are Gated DeltaNet (arXiv 2412.06464) instead of attention. A vision tower is not counted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from training.common.errors import MendableError

Family = Literal["llama", "qwen2", "qwen3", "qwen3_5", "gemma3"]
FAMILIES: dict[str, Family] = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen3_5": "qwen3_5",
    "qwen3_5_text": "qwen3_5",
    "gemma3": "gemma3",
    "gemma3_text": "gemma3",
}
_LEFT_OUT: dict[str, dict[str, int | bool]] = {
    "gemma3": {
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262_208, "tie_word_embeddings": True,
    }
}  # fmt: skip
"""What published configurations of a family leave out, since it is transformers' default."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What determines sizes and arithmetic. `attention` and `delta` are the numbers of layers of the two kinds."""

    family: Family
    hidden: int
    attention: int
    heads: int
    kv_heads: int
    head_size: int
    feed_forward: int
    vocabulary: int
    tied: bool = False
    qkv_bias: bool = False
    out_bias: bool = False
    feed_forward_bias: bool = False
    delta: int = 0
    key_heads: int = 16
    value_heads: int = 32
    key_size: int = 128
    value_size: int = 128
    kernel: int = 4

    @property
    def layers(self) -> int:
        return self.attention + self.delta

    @property
    def keys(self) -> int:
        """Width of the keys of a DeltaNet layer."""
        return self.key_heads * self.key_size

    @property
    def values(self) -> int:
        """Width of the values of a DeltaNet layer."""
        return self.value_heads * self.value_size


class Linear(NamedTuple):
    """A matrix that tokens are multiplied with: its sizes, and the number of layers that have one."""

    name: str
    inputs: int
    outputs: int
    layers: int
    bias: bool = False


def _qwen3_5(hidden: int, layers: int, heads: int, feed_forward: int, value_heads: int, *, tied: bool) -> Shape:
    full = layers // 4
    return Shape(
        "qwen3_5",
        hidden,
        full,
        heads,
        4,
        256,
        feed_forward,
        248_320,
        tied,
        delta=layers - full,
        value_heads=value_heads,
    )


KNOWN: dict[str, Shape] = {
    "Qwen3.5-4B": _qwen3_5(2560, 32, 16, 9216, 32, tied=True),
    "Qwen3.5-9B": _qwen3_5(4096, 32, 16, 12_288, 32, tied=False),
    "Qwen3.5-27B": _qwen3_5(5120, 64, 24, 17_408, 48, tied=False),
    "Qwen3-4B": Shape("qwen3", 2560, 36, 32, 8, 128, 9728, 151_936, tied=True),
    "Qwen3-8B": Shape("qwen3", 4096, 36, 32, 8, 128, 12_288, 151_936),
    "Qwen3-14B": Shape("qwen3", 5120, 40, 40, 8, 128, 17_408, 151_936),
    "Qwen3-32B": Shape("qwen3", 5120, 64, 64, 8, 128, 25_600, 151_936),
    "Qwen2.5-7B": Shape("qwen2", 3584, 28, 28, 4, 128, 18_944, 152_064, qkv_bias=True),
    "Qwen2.5-32B": Shape("qwen2", 5120, 64, 40, 8, 128, 27_648, 152_064, qkv_bias=True),
    "Qwen2.5-72B": Shape("qwen2", 8192, 80, 64, 8, 128, 29_568, 152_064, qkv_bias=True),
    "Llama-3.1-8B": Shape("llama", 4096, 32, 32, 8, 128, 14_336, 128_256),
}
"""Shapes as in the models' `config.json`. A model's folder, if it exists, is read instead."""


def find_shape(model: Path) -> tuple[Shape, str]:
    """Return the shape of the model in a folder, and where it comes from. Raises MendableError if it is not known."""
    config = model / "config.json"
    if config.is_file():
        return read_shape(config), str(config)
    name = model.name.lower()
    for suffix in ("-base", "-instruct"):
        name = name.removesuffix(suffix)
    for known, shape in KNOWN.items():
        if name == known.lower():
            return shape, "known by its name; the folder does not exist yet"
    raise MendableError(
        f"There is no {config}, and {model.name} is not the name of a known model: put the model there first, or name its folder like "
        f"one of {', '.join(KNOWN)}."
    )


POSITIONS = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length")
"""What kinds of models call the number of their positions."""


def positions(values: dict[str, Any]) -> int | None:
    """Return the positions that a model has by the values of its `config.json`; None where it has no limit.

    >>> positions({"n_positions": 1024}), positions({"text_config": {"max_position_embeddings": 8192}})
    (1024, 8192)
    """
    text = values.get("text_config")
    values = text if isinstance(text, dict) else values
    found = (values.get(name) for name in POSITIONS)
    return next((one for one in found if isinstance(one, int) and one > 0), None)


MIXTURE = "The model in {} is a mixture of experts ({}), which cannot be trained here: choose a dense model."


def has_experts(values: dict[str, Any]) -> bool:
    """Return whether layers of a model choose among several feed-forward networks, by the values of its `config.json`.

    >>> has_experts({"num_local_experts": 8}), has_experts({"hidden_size": 8})
    (True, False)
    """
    return any("expert" in name and isinstance(value, int) and value > 1 for name, value in values.items())


def read_shape(config: Path) -> Shape:
    """Return the shape in a `config.json` of transformers. That of a vision-language model has the text model's under `text_config`."""
    try:
        values = json.loads(config.read_bytes())
        values = {**values, **values.get("text_config", {})}
        family = FAMILIES.get(values.get("model_type", ""))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise MendableError(f"{config} cannot be read as a model's configuration: {error}.") from None
    if has_experts(values):
        raise MendableError(MIXTURE.format(config.parent, values.get("model_type")))
    if family is None:
        raise MendableError(
            f"{config} has model_type {values.get('model_type')!r}; plans support {', '.join(FAMILIES)}."
        )
    try:
        return _shape(family, _LEFT_OUT.get(family, {}) | values)
    except KeyError as error:
        raise MendableError(f"{config} lacks {error}, which the model's size depends on.") from None
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise MendableError(f"{config} has an impossible value: {error}.") from None


def _shape(family: Family, values: dict[str, Any]) -> Shape:
    layers, heads, hidden = (int(values[name]) for name in ("num_hidden_layers", "num_attention_heads", "hidden_size"))
    attention_bias = bool(values.get("attention_bias"))
    shape = Shape(
        family=family,
        hidden=hidden,
        attention=layers,
        heads=heads,
        kv_heads=int(values.get("num_key_value_heads") or heads),
        head_size=int(values.get("head_dim") or hidden // heads),
        feed_forward=int(values["intermediate_size"]),
        vocabulary=int(values["vocab_size"]),
        tied=bool(values.get("tie_word_embeddings")),
        qkv_bias=family == "qwen2" or attention_bias,
        out_bias=family != "qwen2" and attention_bias,
        feed_forward_bias=family == "llama" and bool(values.get("mlp_bias")),
    )
    if family != "qwen3_5":
        return shape
    kinds = values.get("layer_types")
    interval = int(values.get("full_attention_interval") or 4)
    full = kinds.count("full_attention") if kinds else layers // interval
    return replace(
        shape,
        attention=full,
        delta=layers - full,
        key_heads=int(values["linear_num_key_heads"]),
        value_heads=int(values["linear_num_value_heads"]),
        key_size=int(values["linear_key_head_dim"]),
        value_size=int(values["linear_value_head_dim"]),
        kernel=int(values.get("linear_conv_kernel_dim") or 4),
    )


def linears(shape: Shape) -> list[Linear]:
    """Return the matrices of all layers, without the output head and the embedding."""
    d, f, layers, attention, delta = shape.hidden, shape.feed_forward, shape.layers, shape.attention, shape.delta
    queries, kv = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    gate = 2 if shape.family == "qwen3_5" else 1  # it also projects a gate for the attention's output
    found = [
        Linear("q_proj", d, gate * queries, attention, shape.qkv_bias),
        Linear("k_proj", d, kv, attention, shape.qkv_bias),
        Linear("v_proj", d, kv, attention, shape.qkv_bias),
        Linear("o_proj", queries, d, attention, shape.out_bias),
        Linear("in_proj_qkv", d, 2 * shape.keys + shape.values, delta),
        Linear("in_proj_z", d, shape.values, delta),
        Linear("in_proj_b", d, shape.value_heads, delta),
        Linear("in_proj_a", d, shape.value_heads, delta),
        Linear("out_proj", shape.values, d, delta),
        Linear("gate_proj", d, f, layers, shape.feed_forward_bias),
        Linear("up_proj", d, f, layers, shape.feed_forward_bias),
        Linear("down_proj", f, d, layers, shape.feed_forward_bias),
    ]
    return [linear for linear in found if linear.layers]


def head_parameters(shape: Shape) -> int:
    """Return the parameters of the output head, whether or not it shares its weights with the embedding."""
    return shape.hidden * shape.vocabulary


def matmul_parameters(shape: Shape, *, head: bool = True) -> int:
    """Return N_mm, the parameters that each token is multiplied with. An embedding is looked up, and norms are negligible.

    >>> round(matmul_parameters(KNOWN["Qwen3.5-9B"]) / 1e9, 3), round(matmul_parameters(KNOWN["Qwen3.5-9B"], head=False) / 1e9, 3)
    (7.936, 6.919)
    """
    layers = sum(linear.inputs * linear.outputs * linear.layers for linear in linears(shape))
    return layers + (head_parameters(shape) if head else 0)


def parameters(shape: Shape, *, head: bool = True) -> int:
    """Return all parameters of the text model; with `head` False, those of a reward model, whose head has one output.

    >>> f"{parameters(KNOWN['Qwen3.5-9B']):,}"
    '8,953,803,264'
    """
    d = shape.hidden
    biases = sum(linear.outputs * linear.layers for linear in linears(shape) if linear.bias)
    norms = (2 * shape.layers + 1) * d
    if shape.family in ("qwen3", "qwen3_5", "gemma3"):
        norms += 2 * shape.head_size * shape.attention
    if shape.family == "gemma3":  # whose layers also normalise what attention and feed-forward return
        norms += 2 * shape.layers * d
    channels = 2 * shape.keys + shape.values
    delta = shape.delta * (shape.kernel * channels + 2 * shape.value_heads + shape.value_size)
    output = d if not head else 0 if shape.tied else head_parameters(shape)
    return head_parameters(shape) + matmul_parameters(shape, head=False) + biases + norms + delta + output


def lora_parameters(shape: Shape, rank: int) -> int:
    """Return the parameters of adapters on all matrices of all layers (arXiv 2106.09685): rank x (inputs + outputs) each.

    >>> f"{lora_parameters(KNOWN['Qwen3.5-9B'], 32):,}"
    '86,556,672'
    """
    return sum(rank * (linear.inputs + linear.outputs) * linear.layers for linear in linears(shape))
