"""Runs that continue an adapter: they begin with it, the reference has it too, and they leave an adapter of the same model."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training.conftest import ROOT
from tests.training.recipes.runs import RECIPES, Name, command, make_settings, max_difference, metric_by_step
from training.common.errors import MendableError
from training.config.adapter import CONFIG, WEIGHTS
from training.learner.facts import model_hash
from training.planning.estimate import make_plan
from training.planning.plan import format_plan
from training.recipes.registry import RECIPES as DECLARED

LORA = {"rank": 4, "alpha": 12}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that made an adapter, `first`."""
    folder = tmp_path_factory.mktemp("adapters")
    settings = make_settings(
        "sft", folder, "first", steps=3, evaluate_every=3, learner={"lora": LORA, "learning_rate": 3e-2}
    )
    assert RECIPES["sft"](settings)
    return folder


def settings_in(folder: Path, name: Name = "sft", run: str = "run", **changes: Any) -> Any:
    learner = {"learning_rate": 1e-2} | changes.pop("learner", {})
    given: dict[str, Any] = {
        "adapter": folder / "first" / "adapter",
        "steps": 4,
        "checkpoint_every": 2,
        "evaluate_every": 4,
    } | changes
    return make_settings(name, folder, run, learner=learner, **given)


def adapter(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "adapter" / WEIGHTS)


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", ["pretrain", "sft", "dpo"])
def test_without_learning_what_comes_out_is_what_went_in(name: Name, first: Path, tmp_path: Path) -> None:
    shutil.copytree(first, tmp_path, dirs_exist_ok=True)
    settings = settings_in(tmp_path, name, steps=1, learner={"learning_rate": 0.0})
    model = RECIPES[name](settings)
    assert model
    assert equal(adapter(settings.run_dir), adapter(tmp_path / "first"))
    assert max_difference(model, tmp_path / "first" / "model") == 0
    used = json.loads((settings.run_dir / "settings.json").read_text())
    assert used["learner"]["lora"] == LORA | {"dropout": 0.0}
    card = (model / "README.md").read_text()
    assert "whose adapter it continues" in card
    assert str(tmp_path) not in card


def test_it_learns_on_and_stays_an_adapter_of_the_same_model(first: Path, tmp_path: Path) -> None:
    shutil.copytree(first, tmp_path, dirs_exist_ok=True)
    settings = settings_in(tmp_path)
    model = RECIPES["sft"](settings)
    assert model
    before, after = adapter(tmp_path / "first"), adapter(settings.run_dir)
    assert before.keys() == after.keys()
    assert not equal(before, after)
    written, base = ((run / "adapter" / CONFIG).read_text() for run in (settings.run_dir, tmp_path / "first"))
    assert json.loads(written)["base_model_name_or_path"] == json.loads(base)["base_model_name_or_path"]
    assert max_difference(model, tmp_path / "first" / "model") > 0
    # begun anew, the same steps end elsewhere
    anew = settings_in(tmp_path, run="anew", adapter=None, learner={"lora": LORA})
    RECIPES["sft"](anew)
    assert not equal(adapter(anew.run_dir), after)
    assert metric_by_step(settings.run_dir)[1] < metric_by_step(anew.run_dir)[1]


def test_the_reference_is_the_model_with_its_adapter_whatever_the_cache_holds(first: Path, tmp_path: Path) -> None:
    """At the first step the policy is the reference, so that its loss is log 2."""
    shutil.copytree(first, tmp_path, dirs_exist_ok=True)
    cache = {"steps": 2, "reference_cache": tmp_path / "cache"}
    plain = settings_in(tmp_path, "dpo", "plain", adapter=None, **cache, learner={"lora": LORA})
    begun = settings_in(tmp_path, "dpo", "begun", **cache)
    RECIPES["dpo"](plain)
    RECIPES["dpo"](begun)
    changed = tmp_path / "first" / "adapter" / WEIGHTS
    save_file({name: one * 1.5 for name, one in load_file(changed).items()}, changed)
    other = settings_in(tmp_path, "dpo", "other", **cache)
    RECIPES["dpo"](other)
    for one in (plain, begun, other):
        assert metric_by_step(one.run_dir)[1] == pytest.approx(math.log(2), abs=1e-5)
    assert len(list((tmp_path / "cache").iterdir())) == 6  # of each, what is learned and what is held out
    before = {path.name for path in (tmp_path / "cache").iterdir()}
    RECIPES["dpo"](settings_in(tmp_path, "dpo", "again", **cache))
    assert {path.name for path in (tmp_path / "cache").iterdir()} == before


def half(first: Path, folder: Path, name: Name) -> Any:
    """A run that continues the adapter, taken back to its middle; its end is in `whole`."""
    shutil.copytree(first, folder, dirs_exist_ok=True)
    settings = settings_in(folder, name)
    assert RECIPES[name](settings)
    shutil.copytree(settings.run_dir / "adapter", folder / "whole" / "adapter")
    shutil.rmtree(settings.run_dir / "checkpoints" / "step-000004")
    for path in settings.run_dir.glob("reference-*"):
        path.unlink()  # it is computed again, by what the run began with
    return settings


@pytest.mark.parametrize("name", ["sft", "dpo"])
def test_resumed_it_ends_where_it_would_have(name: Name, first: Path, tmp_path: Path) -> None:
    settings = half(first, tmp_path, name)
    manifest = json.loads((settings.run_dir / "checkpoints" / "step-000002" / "manifest.json").read_text())
    assert manifest["base"] == model_hash(tmp_path / "model-qwen3")
    assert manifest["adapter"] == model_hash(tmp_path / "first" / "adapter")
    RECIPES[name](settings)
    assert equal(adapter(settings.run_dir), adapter(tmp_path / "whole"))


@pytest.mark.soak
@pytest.mark.processes
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_two_processes_continue_it_as_one(stage: int, tmp_path: Path) -> None:
    shape = {"intermediate_size": 4096}  # ZeRO-3 does not shard smaller weights
    assert RECIPES["sft"](make_settings("sft", tmp_path, "first", shape=shape, steps=2, learner={"lora": LORA}))
    alone, two = (
        settings_in(tmp_path, "dpo", run, learner={"zero_stage": number, "learning_rate": 1e-3})
        for run, number in (("one", 0), ("two", stage))
    )
    assert RECIPES["dpo"](alone)
    arguments, environment = command("dpo", two, processes=2)
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert metric_by_step(two.run_dir) == pytest.approx(metric_by_step(alone.run_dir), rel=1e-5)
    one, other = adapter(alone.run_dir), adapter(two.run_dir)
    assert one.keys() == other.keys()
    assert max((one[name] - other[name]).abs().max().item() for name in one) < 1e-5


def test_another_adapter_at_the_same_place_is_refused(first: Path, tmp_path: Path) -> None:
    settings = half(first, tmp_path, "sft")
    path = tmp_path / "first" / "adapter" / WEIGHTS
    save_file({name: one * 1.01 for name, one in load_file(path).items()}, path)
    with pytest.raises(
        MendableError, match=r"began with another adapter: the files in .*first/adapter were changed since"
    ):
        RECIPES["sft"](settings)


def test_an_adapter_at_the_place_of_the_result_is_not_written_over(first: Path, tmp_path: Path) -> None:
    shutil.copytree(first, tmp_path, dirs_exist_ok=True)
    with pytest.raises(MendableError, match="is read by this run"):
        RECIPES["sft"](settings_in(tmp_path, run="first"))


def test_the_plan_counts_the_adapter(first: Path, tmp_path: Path) -> None:
    shutil.copytree(first, tmp_path, dirs_exist_ok=True)
    text = format_plan(make_plan(DECLARED["sft"], settings_in(tmp_path)))
    assert "trained, adapters of rank 4, which the run continues" in text
    with pytest.raises(MendableError, match=r"has rank 4, and learner\.lora\.rank is 8"):
        make_plan(DECLARED["sft"], settings_in(tmp_path, learner={"lora": {"rank": 8}}))
