"""What is computed here is the model: one check at load, for every kind of model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AttentionInterface

from tests.training.learner import kinds
from training.common.errors import MendableError
from training.config.learner import LearnerSettings, Lora
from training.learner import attention, check
from training.learner.check import check_model, context_of
from training.learner.models import load_model, max_text_tokens
from training.planning.shapes import positions

FLOAT = LearnerSettings(precision="float32", gradient_checkpointing=False, threads=1)


def checked(kind: str, *, reward: bool = False, packing: bool = True, trained: bool = True, **changes: Any) -> None:
    check_model(Path("folder"), kinds.config(kind, **changes), reward=reward, packing=packing, trained=trained)


@pytest.mark.parametrize("reward", [False, True])
@pytest.mark.parametrize("kind", ["llama", "qwen3_5", "gemma3", "gpt2"])
def test_kinds_that_hold(kind: str, reward: bool) -> None:
    checked(kind, reward=reward)


def test_a_window_that_our_attention_refuses_to_exceed() -> None:
    checked("mistral", sliding_window=16)


# positions or a mask of its own; no room for another attention; another attention than the one that was given
@pytest.mark.parametrize("kind", ["bloom", "mpt", "gpt_neo", "falcon", "xglm", "mamba"])
def test_kinds_that_do_not_hold_are_refused_by_name(kind: str) -> None:
    with pytest.raises(
        MendableError, match=rf"The model in folder is of a kind that is not supported: {kind} .*Supported are Llama"
    ) as refusal:
        checked(kind)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", ["stablelm", "nemotron"])
def test_kinds_that_hold_in_rows_only(kind: str) -> None:
    with pytest.raises(MendableError, match="texts in one row change each other; with packing 'off' it is supported"):
        checked(kind, num_attention_heads=4)
    checked(kind, num_attention_heads=4, packing=False)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("mixtral", {"num_local_experts": 4}),
        ("gpt_oss", {"num_local_experts": 4}),
        ("qwen3_moe", {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}),
        ("olmoe", {"num_experts": 4}),
        ("deepseek_v3", {"n_routed_experts": 4}),
    ],
)
def test_mixtures_of_experts_are_not_trained(kind: str, changes: dict[str, Any]) -> None:
    with pytest.raises(MendableError, match=rf"mixture of experts \({kind}\), which cannot be trained here"):
        checked(kind, **changes)


def test_a_mixture_may_be_asked_for_rewards() -> None:
    checked("mixtral", num_local_experts=4, reward=True, trained=False)


@pytest.mark.parametrize("fault", ["texts see each other", "later tokens are seen", "another scale"])
def test_each_fault_of_attention_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = attention.attend

    def wrong(*args: Any, **named: Any) -> Any:
        if fault == "texts see each other":
            named["stories"] = None
        if fault == "another scale":
            named["scaling"] = 1.0
        return right(*args, **named)

    def bidirectional(query: Any, key: Any, value: Any, scaling: Any, dropout: Any, grouped: Any) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=scaling, enable_gqa=grouped)

    if fault == "later tokens are seen":
        monkeypatch.setattr(attention, "_causal", bidirectional)
    monkeypatch.setitem(AttentionInterface._global_mapping, attention.ATTENTION, wrong)
    said = {
        "texts see each other": "texts in one row",
        "later tokens are seen": "attention differs",
        "another scale": "attention differs",
    }
    check._wrong.cache_clear()
    try:
        with pytest.raises(MendableError, match=said[fault]):
            checked("qwen3")
    finally:
        check._wrong.cache_clear()


def test_an_adapter_beside_the_weights_is_refused(tmp_path: Path) -> None:
    folder = kinds.save("llama", tmp_path / "model")
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(MendableError, match=r"holds an adapter .*beside a model"):
        load_model(folder, FLOAT)
    (folder / "adapter_config.json").unlink()
    save_file({"one": torch.zeros(1)}, folder / "adapter_model.safetensors")
    with pytest.raises(MendableError, match=r"holds an adapter .*beside a model"):
        load_model(folder, FLOAT)


def test_a_model_without_trained_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = kinds.save("llama", tmp_path / "model")
    monkeypatch.setattr("training.learner.models.prepare", lambda model, _: model.requires_grad_(False))
    with pytest.raises(MendableError, match="no weights that are trained"):
        load_model(folder, FLOAT)
    load_model(folder, FLOAT, trained=False)


@pytest.mark.parametrize("reward", [False, True])
@pytest.mark.parametrize("lora", [None, Lora(rank=4, alpha=8)])
def test_image_encoders_are_not_trained(reward: bool, lora: Lora | None, tmp_path: Path) -> None:
    model = load_model(kinds.save("gemma3", tmp_path / "model"), FLOAT.model_copy(update={"lora": lora}), reward=reward)
    trained = [name for name, one in model.named_parameters() if one.requires_grad]
    assert trained
    assert all("language_model" in name or "score" in name for name in trained)
    assert not any("vision" in name for name, _ in model.named_parameters() if "lora" in name)


@pytest.mark.parametrize(
    ("kind", "found"),
    [("gpt2", 2048), ("gptj", 2048), ("llama", 2048), ("qwen3_5", 2048), ("mpt", 2048), ("bloom", None)],
)
def test_the_context_by_whatever_name(kind: str, found: int | None, tmp_path: Path) -> None:
    chosen = kinds.config(kind)
    assert context_of(chosen) == found
    chosen.save_pretrained(tmp_path)
    assert positions(json.loads((tmp_path / "config.json").read_text())) == found
    save_file({"one": torch.zeros(1)}, tmp_path / "model.safetensors")
    assert max_text_tokens(tmp_path, 16_384, lambda _: None) == (found or 16_384)


def test_the_check_changes_no_random_state() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    check._wrong.cache_clear()
    checked("llama")
    assert torch.rand(1) == expected
