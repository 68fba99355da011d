"""An adapter that is continued is the one that was written, on the model that it was trained on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.training.learner import kinds
from tests.training.learner.test_export import LORA, SOURCES, TEXT, moved, weights
from training.common.errors import MendableError
from training.config.adapter import WEIGHTS
from training.config.learner import LearnerSettings
from training.learner.adapters import load_adapter
from training.learner.engine import Learner
from training.learner.export import save_model
from training.learner.facts import model_hash
from training.learner.models import load_model
from training.learner.probe import learner_logprobs


def export(learner: Learner, source: Path, folder: Path) -> Path:
    probe = TEXT, learner_logprobs(learner, TEXT)
    base = model_hash(source)
    save_model(learner.engine.weights(), learner.model, source, folder / "model", "card", learner.settings, probe, base)
    return folder / "adapter"


def continued(source: Path, adapter: Path, *, reward: bool = False) -> Learner:
    settings = LearnerSettings(precision="float32", gradient_checkpointing=False, threads=1, lora=LORA)
    model = load_model(source, settings, reward=reward)
    load_adapter(model, adapter, model_hash(source))
    return Learner(model, settings, packed=False)


@pytest.mark.parametrize(("kind", "changes"), SOURCES)
def test_it_computes_what_it_did_and_is_written_as_it_was(kind: str, changes: dict[str, Any], tmp_path: Path) -> None:
    source = kinds.save(kind, tmp_path / "source", **changes)
    first = moved(source, LORA)
    adapter = export(first, source, tmp_path)
    again = continued(source, adapter)
    assert np.abs(learner_logprobs(again, TEXT) - learner_logprobs(first, TEXT)).max() < 1e-5
    second = export(again, source, tmp_path / "again")
    before, after = load_file(adapter / WEIGHTS), load_file(second / WEIGHTS)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    merged = weights(tmp_path / "model")
    assert all(torch.equal(merged[name], one) for name, one in weights(tmp_path / "again" / "model").items())
    with safe_open(second / WEIGHTS, "pt") as file:
        assert file.metadata()["base"] == model_hash(source)


def test_a_reward_model_may_begin_from_an_adapter_that_writes(tmp_path: Path) -> None:
    source = kinds.save("llama", tmp_path / "source")
    adapter = export(moved(source, LORA), source, tmp_path)
    rewarding = continued(source, adapter, reward=True)
    torch.manual_seed(0)
    fresh = Learner(load_model(source, rewarding.settings, reward=True), rewarding.settings, packed=False)
    fresh.model.score.load_state_dict(rewarding.model.score.state_dict())
    assert abs(learner_logprobs(rewarding, TEXT) - learner_logprobs(fresh, TEXT)).max() > 1e-3


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("another model", "is one of another model"),
        ("another size", r"has shape \[64, 4\], and the model needs \[128, 4\]"),
        ("fewer layers", "it has none for .*layers.1"),
        ("more layers", "it has weights for .*layers.7"),
        ("damaged", "cannot be read"),
    ],
)
def test_an_adapter_of_something_else_is_refused(what: str, says: str, tmp_path: Path) -> None:
    source = kinds.save("llama", tmp_path / "source")
    adapter = export(moved(source, LORA), source, tmp_path)
    found = load_file(adapter / WEIGHTS)
    if what == "another model":
        tensors = weights(source)
        tensors["model.norm.weight"] *= 1.001
        save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    elif what == "another size":
        shutil.rmtree(source)
        kinds.save("llama", source, hidden_size=128)
        save_file(found, adapter / WEIGHTS)  # which leaves out of which model it is
    elif what == "fewer layers":
        save_file({name: one for name, one in found.items() if ".layers.1." not in name}, adapter / WEIGHTS)
    elif what == "more layers":
        name, one = next(iter(found.items()))
        save_file(found | {name.replace(".layers.0.", ".layers.7."): one.clone()}, adapter / WEIGHTS)
    else:
        (adapter / WEIGHTS).write_bytes((adapter / WEIGHTS).read_bytes()[:-8])
    with pytest.raises(MendableError, match=says):
        continued(source, adapter)
