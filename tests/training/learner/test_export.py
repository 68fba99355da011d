"""What a run leaves is the model that it trained, under the names of its source, and is read back before it is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedModel

from tests.training.learner import kinds
from training.common.errors import MendableError
from training.config.learner import LearnerSettings, Lora
from training.learner import export
from training.learner.engine import Learner
from training.learner.export import read_back, save_model
from training.learner.models import load_model
from training.learner.names import adapter_weights, source_weights
from training.learner.probe import eager_outputs, fixed_text, learner_logprobs

TEXT = fixed_text(300, 64)
LORA = Lora(rank=4, alpha=8)


def moved(folder: Path, lora: Lora | None, *, reward: bool = False, by: float = 0.05, **changes: Any) -> Learner:
    """A learner whose trained weights differ from those of its source by a standard deviation."""
    settings = LearnerSettings(precision="float32", gradient_checkpointing=False, threads=1, lora=lora, **changes)
    learner = Learner(load_model(folder, settings, reward=reward), settings, packed=False)
    torch.manual_seed(1)
    with torch.no_grad():
        for one in learner.model.parameters():
            if one.requires_grad:
                one += by * torch.randn_like(one)
    return learner


def exported(learner: Learner, source: Path, folder: Path) -> Path:
    probe = TEXT, learner_logprobs(learner, TEXT)
    save_model(learner.engine.weights(), learner.model, source, folder / "model", "card", learner.settings, probe)
    return folder / "model"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def outputs(model: PreTrainedModel) -> np.ndarray[Any, Any]:
    return eager_outputs(model.eval(), TEXT)


SOURCES: list[tuple[str, dict[str, Any]]] = [
    ("qwen3_5", {}),
    ("gemma3", {}),
    ("llama", {"tie_word_embeddings": True}),
    ("gpt2", {}),
]


@pytest.mark.parametrize("lora", [None, LORA])
@pytest.mark.parametrize(("kind", "changes"), SOURCES)
def test_an_export_has_the_names_of_its_source_and_computes_what_the_learner_does(
    kind: str, changes: dict[str, Any], lora: Lora | None, tmp_path: Path
) -> None:
    source = kinds.save(kind, tmp_path / "source", **changes)
    learner = moved(source, lora)
    folder = exported(learner, source, tmp_path)
    before, after = weights(source), weights(folder)
    assert after.keys() == before.keys()
    assert (
        json.loads((folder / "config.json").read_text())["architectures"]
        == json.loads((source / "config.json").read_text())["architectures"]
    )
    pictures = [name for name in before if "visual" in name or "vision" in name]
    assert bool(pictures) == (kind in ("qwen3_5", "gemma3"))
    assert all(torch.equal(before[name], after[name]) for name in pictures)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    found = outputs(AutoModelForCausalLM.from_pretrained(folder))
    assert np.abs(found - learner_logprobs(learner, TEXT)).max() < 1e-4
    assert np.abs(found - outputs(AutoModelForCausalLM.from_pretrained(source))).max() > 0.01


@pytest.mark.parametrize(("kind", "changes"), SOURCES)
def test_an_adapter_is_what_peft_merges_into_the_source(kind: str, changes: dict[str, Any], tmp_path: Path) -> None:
    source = kinds.save(kind, tmp_path / "source", **changes)
    learner = moved(source, LORA)
    exported(learner, source, tmp_path)
    auto: Any = AutoModelForImageTextToText if kind in ("qwen3_5", "gemma3") else AutoModelForCausalLM
    base = auto.from_pretrained(source)
    plain = outputs(base)
    merged = outputs(PeftModel.from_pretrained(base, tmp_path / "adapter").merge_and_unload())
    assert np.abs(merged - learner_logprobs(learner, TEXT)).max() < 1e-4
    assert np.abs(merged - plain).max() > 0.01
    names = [
        name.split(".lora_")[0].removeprefix("base_model.model.")
        for name in load_file(tmp_path / "adapter/adapter_model.safetensors")
    ]
    assert {f"{name}.weight" for name in names} <= weights(source).keys()


@pytest.mark.parametrize("lora", [None, LORA])
@pytest.mark.parametrize(("kind", "changes"), SOURCES)
def test_the_hand_over_has_the_names_of_the_source(
    kind: str, changes: dict[str, Any], lora: Lora | None, tmp_path: Path
) -> None:
    source = kinds.save(kind, tmp_path / "source", **changes)
    learner = moved(source, lora)
    own = {name.removeprefix("model."): one for name, one in learner.engine.weights().items()}
    if lora:
        names = {
            f"{name.split('.lora_')[0].removeprefix('base_model.model.')}.weight"
            for name in adapter_weights(own, learner.model)
        }
    else:
        handed = source_weights(own, learner.model)
        names = set(handed)
        save_file(
            handed, tmp_path / "handed.safetensors"
        )  # which refuses weights that are one in memory, as a tied head is
    assert names
    assert names <= weights(source).keys()


def test_a_reward_model_is_read_back_too(tmp_path: Path) -> None:
    source = kinds.save("qwen3_5", tmp_path / "source")
    learner = moved(source, LORA, reward=True)
    folder = exported(learner, source, tmp_path)
    assert "score.weight" in weights(folder)
    rewarding = load_model(folder, LearnerSettings(precision="float32", threads=1), reward=True)
    assert np.abs(outputs(rewarding) - learner_logprobs(learner, TEXT)).max() < 1e-4


@pytest.mark.parametrize("damage", ["dropped adapters", "a missing weight", "another weight"])
def test_an_export_that_is_not_the_learner_is_not_kept(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = kinds.save("llama", tmp_path / "source")
    learner = moved(source, LORA)
    whole = export._save_weights

    def damaged(found: dict[str, torch.Tensor], folder: Path) -> None:
        if damage == "dropped adapters":
            found = weights(source)
        elif damage == "a missing weight":
            found.pop("model.layers.1.mlp.up_proj.weight")
        else:
            found["model.layers.1.mlp.up_proj.weight"] = found["model.layers.0.mlp.up_proj.weight"].clone()
        whole(found, folder)

    monkeypatch.setattr(export, "_save_weights", damaged)
    with pytest.raises(MendableError, match=r"lack what its config.json|differs from the trained one by"):
        exported(learner, source, tmp_path)
    assert not (tmp_path / "model").exists()


def test_in_bfloat16_rounding_passes_and_another_weight_does_not(tmp_path: Path) -> None:
    source = kinds.save("qwen3", tmp_path / "source")
    settings = LearnerSettings(precision="bfloat16", gradient_checkpointing=False, threads=1, lora=LORA)
    learner = Learner(load_model(source, settings), settings, packed=False)
    with torch.no_grad():
        for name, one in learner.model.named_parameters():
            if "lora_B" in name:
                one.normal_(0, 0.1)
    expected = learner_logprobs(learner, TEXT)
    folder = exported(learner, source, tmp_path)
    read_back(folder, TEXT, expected, torch.bfloat16, reward=False)
    shutil.copyfile(source / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(MendableError, match="differs from the trained one"):
        read_back(folder, TEXT, expected, torch.bfloat16, reward=False)
