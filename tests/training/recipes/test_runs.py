"""Every recipe as a run: what it leaves, that it goes on after a death, on how many processes, and the path it takes."""

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
from tests.training.recipes.runs import NAMES, RECIPES, Name, apart, command, make_settings, run_until, told, weights
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
        assert sorted(told(settings.run_dir, measure)) == [1, 2, 3, 4]
    assert sorted(told(settings.run_dir, "held_out_loss")) == [2, 4]

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
def test_the_model_that_is_written_is_the_one_that_learned(
    kind: models.Kind, shape: dict[str, Any] | None, tmp_path: Path
) -> None:
    settings = make_settings("sft", tmp_path, kind=kind, shape=shape, steps=2, evaluate_every=2)
    folder = RECIPES["sft"](settings)
    assert folder
    _, found = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    # Read again, it says of the texts held out what the run said at its end.
    model = load_model(folder, settings.learner)
    learner = Learner(model, settings.learner, packed=can_pack(model, settings.learner, print))
    encoder = ChatEncoder(load_tokenizer(folder), folder)
    evaluate = held_out_loss(
        learner, conversations(settings.held_out, encoder, ContextLimit(settings.context, "refuse"))
    )
    assert evaluate
    assert evaluate()["held_out_loss"] == pytest.approx(told(settings.run_dir, "held_out_loss")[2], rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_run_ends_like_one_that_never_was(name: Name, tmp_path: Path) -> None:
    whole, killed = make_settings(name, tmp_path, "whole"), make_settings(name, tmp_path, "killed")
    model = RECIPES[name](whole)
    assert model
    assert run_until(name, killed, 6) == -signal.SIGKILL
    assert max(told(killed.run_dir)) < 12
    resumed = RECIPES[name](killed)
    assert resumed
    resumes = [event for event in read_events(killed.run_dir / "events.jsonl") if event.kind == "resumed"]
    assert [(event.checkpoint, event.step) for event in resumes] == [(f"{killed.run_dir}/checkpoints/step-000004", 4)]
    assert told(killed.run_dir) == told(whole.run_dir)
    assert told(killed.run_dir, "held_out_loss") == told(whole.run_dir, "held_out_loss")
    assert apart(model, resumed) == 0


def test_a_stop_that_was_asked_for_loses_no_step(tmp_path: Path) -> None:
    settings = make_settings("sft", tmp_path, steps=200, checkpoint_every=1000)
    assert run_until("sft", settings, 5, signal.SIGTERM) == 0
    done = max(told(settings.run_dir))
    assert (settings.run_dir / "checkpoints" / f"step-{done:06d}").is_dir()
    assert not (settings.run_dir / "model").exists()


ADAPTERS = {"lora": {"rank": 4, "alpha": 8}}
# DeepSpeed compiles its optimizer for the host's memory, which takes a minute.
OFFLOAD = pytest.param("sft", 2, {"offload": "optimizer"}, marks=pytest.mark.soak)


@pytest.mark.parametrize(
    ("name", "stage", "learner"),
    [pytest.param("sft", 1, {}, marks=pytest.mark.soak), ("reward_model", 2, ADAPTERS), ("dpo", 3, {}), OFFLOAD],
)
def test_two_processes_are_one(name: Name, stage: int, learner: dict[str, Any], tmp_path: Path) -> None:
    """DeepSpeed on two processes against plain torch on one; the two are killed in the middle and go on."""
    shape = {"intermediate_size": 4096} if stage == 3 else None  # ZeRO-3 leaves weights below 100,000 numbers whole
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
    assert told(two.run_dir) == pytest.approx(told(alone.run_dir), rel=1e-5)
    assert told(two.run_dir, "grad_norm") == pytest.approx(told(alone.run_dir, "grad_norm"), rel=1e-5)
    assert apart(model, two.run_dir / "model") < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_twenty_steps_take_the_path_that_is_written_down(name: Name, tmp_path: Path) -> None:
    """`python -m tests.training.recipes.test_runs` writes it anew, after a change that is meant to change it."""
    settings = make_settings(name, tmp_path, steps=20)
    RECIPES[name](settings)
    expected = json.loads(TRAJECTORIES.read_text())[name]
    for measure in ("loss", "grad_norm"):
        assert list(told(settings.run_dir, measure).values()) == pytest.approx(expected[measure], rel=2e-4)


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

    written: dict[str, dict[str, list[float]]] = {}
    for each in NAMES:
        with tempfile.TemporaryDirectory() as place:
            some = make_settings(each, Path(place), steps=20)
            RECIPES[each](some)
            written[each] = {
                measure: [float(f"{value:.7g}") for value in told(some.run_dir, measure).values()]
                for measure in ("loss", "grad_norm")
            }
    TRAJECTORIES.write_text(json.dumps(written, indent=1) + "\n")
