"""Runs of every recipe: the files they leave, resuming after a kill, several processes, and their losses step by step."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from tests.training import models
from tests.training.conftest import ROOT
from tests.training.recipes.runs import (
    NAMES,
    RECIPES,
    Name,
    command,
    make_settings,
    max_difference,
    metric_by_step,
    run_until,
    weights,
)
from training.common.events import read_events
from training.datasets.encoding import ChatEncoder, ContextLimit, conversations
from training.learner.engine import Learner
from training.learner.models import can_pack, load_model, load_tokenizer
from training.recipes.sft.loop import held_out_loss

TRAJECTORIES = Path(__file__).with_name("trajectories.json")


@pytest.mark.parametrize("name", NAMES)
def test_what_a_run_leaves_behind(name: Name, tmp_path: Path) -> None:
    settings = make_settings(name, tmp_path, steps=4, evaluate_every=2)
    folder = RECIPES[name](settings)
    assert folder
    assert folder == settings.run_dir / "model"
    assert type(settings).model_validate_json((settings.run_dir / "settings.json").read_text()) == settings
    events = read_events(settings.run_dir / "events.jsonl")
    phases = {event.name for event in events if event.kind == "phase"}
    assert phases == {"data", "model", "evaluate", "checkpoint", "export"} | ({"reference"} if name == "dpo" else set())
    for measure in ("loss", "grad_norm", "learning_rate", "tokens", "seconds", "tokens_per_second", "memory_gib"):
        assert sorted(metric_by_step(settings.run_dir, measure)) == [1, 2, 3, 4]
    assert sorted(metric_by_step(settings.run_dir, "held_out_loss")) == [2, 4]

    auto: Any = AutoModelForSequenceClassification if name == "reward_model" else AutoModelForCausalLM
    model = auto.from_pretrained(folder)
    assert model.config.architectures == [type(model).__name__]
    assert model.config.use_cache
    assert AutoTokenizer.from_pretrained(folder).chat_template
    assert f"python -m training {name}" in (folder / "README.md").read_text()
    assert not list(settings.run_dir.glob(".*writing*"))


@pytest.mark.parametrize(
    ("kind", "shape"), [("llama", {"tie_word_embeddings": True}), ("qwen3", None), ("qwen3.5", None)]
)
def test_the_saved_model_is_the_trained_one(kind: models.Kind, shape: dict[str, Any] | None, tmp_path: Path) -> None:
    settings = make_settings("sft", tmp_path, kind=kind, shape=shape, steps=2, evaluate_every=2)
    folder = RECIPES["sft"](settings)
    assert folder
    _, found = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    # loaded again, it has the held-out loss that the run had at its end
    model = load_model(folder, settings.learner)
    learner = Learner(model, settings.learner, packed=can_pack(model, settings.learner, print))
    encoder = ChatEncoder(load_tokenizer(folder), folder)
    evaluate = held_out_loss(
        learner, conversations(settings.held_out, encoder, ContextLimit(settings.context, "refuse"))
    )
    assert evaluate
    assert evaluate()["held_out_loss"] == pytest.approx(metric_by_step(settings.run_dir, "held_out_loss")[2], rel=1e-6)


# The loop is one for all recipes: it is proven with one of them here, with the others by `make soak`.
ONE_OF_THEM = [pytest.param(name, marks=() if name == "sft" else pytest.mark.soak) for name in NAMES]


@pytest.mark.processes
@pytest.mark.parametrize("name", ONE_OF_THEM)
def test_a_killed_run_ends_like_one_that_was_not_killed(name: Name, tmp_path: Path) -> None:
    whole, killed = make_settings(name, tmp_path, "whole"), make_settings(name, tmp_path, "killed")
    model = RECIPES[name](whole)
    assert model
    assert run_until(name, killed, 6) == -signal.SIGKILL
    assert max(metric_by_step(killed.run_dir)) < 12
    resumed = RECIPES[name](killed)
    assert resumed
    resumes = [event for event in read_events(killed.run_dir / "events.jsonl") if event.kind == "resumed"]
    assert [(event.checkpoint, event.step) for event in resumes] == [(f"{killed.run_dir}/checkpoints/step-000004", 4)]
    assert metric_by_step(killed.run_dir) == metric_by_step(whole.run_dir)
    assert metric_by_step(killed.run_dir, "held_out_loss") == metric_by_step(whole.run_dir, "held_out_loss")
    assert max_difference(model, resumed) == 0


@pytest.mark.processes
def test_a_requested_stop_loses_no_step(tmp_path: Path) -> None:
    settings = make_settings("sft", tmp_path, steps=200, checkpoint_every=1000)
    assert run_until("sft", settings, 5, signal.SIGTERM) == 0
    done = max(metric_by_step(settings.run_dir))
    assert (settings.run_dir / "checkpoints" / f"step-{done:06d}").is_dir()
    assert not (settings.run_dir / "model").exists()


ADAPTERS = {"lora": {"rank": 4, "alpha": 8}}
LONG = pytest.mark.soak
WITH_TWO: list[Any] = [
    pytest.param("sft", 1, {}, marks=LONG),
    pytest.param("reward_model", 2, ADAPTERS, marks=LONG),
    ("dpo", 3, {}),
    # DeepSpeed compiles its optimizer for the host's memory, which takes a minute.
    pytest.param("sft", 2, {"offload": "optimizer"}, marks=LONG),
]


@pytest.mark.processes
@pytest.mark.parametrize(("name", "stage", "learner"), WITH_TWO)
def test_two_processes_give_the_result_of_one(name: Name, stage: int, learner: dict[str, Any], tmp_path: Path) -> None:
    """DeepSpeed with two processes compared with plain torch; the two are killed in the middle of the run and resume."""
    shape = {"intermediate_size": 4096} if stage == 3 else None  # ZeRO-3 does not shard smaller weights
    plain = {key: value for key, value in learner.items() if key != "offload"}
    alone = make_settings(name, tmp_path, "alone", steps=5, shape=shape, learner=plain)
    model = RECIPES[name](alone)
    assert model
    two = make_settings(name, tmp_path, "two", steps=5, checkpoint_every=2, learner={"zero_stage": stage} | learner)
    assert run_until(name, two, 3, processes=2) == -signal.SIGKILL
    assert not (two.run_dir / "model").exists()
    arguments, environment = command(name, two, processes=2)
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Resuming from" in done.stdout
    assert metric_by_step(two.run_dir) == pytest.approx(metric_by_step(alone.run_dir), rel=1e-5)
    assert metric_by_step(two.run_dir, "grad_norm") == pytest.approx(
        metric_by_step(alone.run_dir, "grad_norm"), rel=1e-5
    )
    assert max_difference(model, two.run_dir / "model") < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_twenty_steps_have_the_recorded_losses(name: Name, tmp_path: Path) -> None:
    """`python -m tests.training.recipes.test_runs` records them again, after a change that is meant to change them."""
    settings = make_settings(name, tmp_path, steps=20)
    RECIPES[name](settings)
    expected = json.loads(TRAJECTORIES.read_text())[name]
    for measure in ("loss", "grad_norm"):
        assert list(metric_by_step(settings.run_dir, measure).values()) == pytest.approx(expected[measure], rel=2e-4)


def test_adapters_are_merged_into_the_model(tmp_path: Path) -> None:
    settings = make_settings("sft", tmp_path, steps=3, learner={"lora": {"rank": 4, "alpha": 8}, "learning_rate": 0.05})
    folder = RECIPES["sft"](settings)
    assert folder
    before, after = weights(settings.model), weights(folder)
    assert before.keys() == after.keys()
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert changed
    assert all("proj" in name for name in changed)


if __name__ == "__main__":
    import tempfile

    recorded: dict[str, dict[str, list[float]]] = {}
    for each in NAMES:
        with tempfile.TemporaryDirectory() as folder:
            some = make_settings(each, Path(folder), steps=20)
            RECIPES[each](some)
            recorded[each] = {
                measure: [float(f"{value:.7g}") for value in metric_by_step(some.run_dir, measure).values()]
                for measure in ("loss", "grad_norm")
            }
    TRAJECTORIES.write_text(json.dumps(recorded, indent=1) + "\n")
