"""Runs of the demo's recipe: the files they leave, and resuming after a kill or a stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.training.conftest import ROOT
from training.common.errors import MendableError
from training.common.events import read_events
from training.common.records import Metrics, Window
from training.test_model.optimizers import learning_rate_factor
from training.test_model.settings import DemoSettings
from training.test_model.train import batches_from, export, train_demo

Tiny = Callable[..., DemoSettings]


def losses(run: Path) -> dict[int, float]:
    return {
        e.step: e.values["loss"]
        for e in read_events(run / "events.jsonl")
        if isinstance(e, Metrics) and "loss" in e.values
    }


def same_weights(one: Path, other: Path) -> bool:
    first, second = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def start_and_signal(settings: DemoSettings, folder: Path, after_step: int, what: signal.Signals) -> int:
    """Run the recipe as a command, send it a signal after a step, and wait for its end."""
    path = folder / "run.json"
    path.write_text(settings.model_dump_json())
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "training", "demo", str(path)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        for line in process.stdout:
            if line.startswith(f"step {after_step}:"):
                process.send_signal(what)
                break
        process.stdout.read()
        return process.wait(60)
    finally:
        process.kill()
        process.stdout.close()


@pytest.mark.processes
def test_killed_or_stopped_and_resumed_equals_uninterrupted(tmp_path: Path, tiny: Tiny) -> None:
    whole, killed = tiny("whole"), tiny("killed")
    model = train_demo(whole)
    assert model
    assert start_and_signal(killed, tmp_path, 8, signal.SIGKILL) == -signal.SIGKILL
    assert start_and_signal(killed, tmp_path, 12, signal.SIGTERM) == 0  # resumes from step 5, stops cleanly
    events = read_events(killed.run_dir / "events.jsonl")
    assert [event.step for event in events if event.kind == "resumed"] == [5]
    stopped_after = max(losses(killed.run_dir))
    assert stopped_after < killed.steps
    assert [(event.outcome, event.step) for event in events if event.kind == "ended"] == [("stopped", stopped_after)]
    resumed = train_demo(killed)
    assert resumed
    assert losses(killed.run_dir) == losses(whole.run_dir)
    assert same_weights(model, resumed)


def test_what_a_run_leaves_behind(tiny: Tiny) -> None:
    settings = tiny(steps=6, evaluate_every=3)
    folder = train_demo(settings)
    assert folder == settings.run_dir / "model"
    assert DemoSettings.model_validate_json((settings.run_dir / "settings.json").read_text()) == settings
    events = read_events(settings.run_dir / "events.jsonl")
    assert {event.name for event in events if event.kind == "phase"} == {
        "corpus",
        "tokenizer",
        "evaluate",
        "checkpoint",
        "export",
    }
    assert sorted(losses(settings.run_dir)) == [1, 2, 3, 4, 5, 6]
    assert [e.step for e in events if isinstance(e, Metrics) and "held_out_loss" in e.values] == [3, 6]

    model = AutoModelForCausalLM.from_pretrained(folder)
    assert type(model).__name__ == "Qwen3ForCausalLM"
    assert model.get_input_embeddings().weight.data_ptr() != model.get_output_embeddings().weight.data_ptr()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (
        model.generation_config.eos_token_id == tokenizer.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    )
    card = (folder / "README.md").read_text()
    assert "Author 3" in card
    assert "6 steps" in card
    assert (folder / "curve.svg").read_text().startswith("<svg")


def test_a_run_learns(tiny: Tiny) -> None:
    settings = tiny(steps=40, decay_steps=10, learning_rate=0.02, matrix_learning_rate=0.02)
    train_demo(settings)
    seen = losses(settings.run_dir)
    assert sum(seen[step] for step in range(36, 41)) / 5 < sum(seen[step] for step in range(1, 6)) / 5 - 0.5


def test_a_longer_run_resumes_and_other_settings_are_refused(tiny: Tiny) -> None:
    train_demo(tiny(steps=4, decay_steps=0))
    with pytest.raises(MendableError, match=r"other settings \(seed\)"):
        train_demo(tiny(steps=6, seed=2))
    train_demo(tiny(steps=6, decay_steps=2))
    assert max(losses(tiny().run_dir)) == 6


def test_micro_batches_do_not_change_the_result(tiny: Tiny) -> None:
    train_demo(tiny("one", steps=3, decay_steps=0, batch_rows=4, micro_rows=1))
    train_demo(tiny("four", steps=3, decay_steps=0, batch_rows=4, micro_rows=4))
    one, four = losses(tiny("one").run_dir), losses(tiny("four").run_dir)
    assert one == pytest.approx(four, rel=2e-3)


def test_export_needs_a_checkpoint(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(MendableError, match=r"There is no checkpoint in .* yet"):
        export(tiny(), tmp_path / "model")


def test_the_learning_rate_warms_up_stays_and_falls(tiny: Tiny) -> None:
    settings = tiny(steps=20, warmup_steps=3, decay_steps=4)
    factors = [learning_rate_factor(step, settings) for step in range(20)]
    assert factors == pytest.approx([0.25, 0.5, 0.75] + [1.0] * 13 + [0.8, 0.6, 0.4, 0.2])
    assert learning_rate_factor(19, tiny(steps=20, decay_steps=0)) == 1.0


def test_the_cursor_is_the_number_of_the_step() -> None:
    def plan(epoch: int) -> list[Window]:
        return [Window(number, epoch, 0, landing=False, seed=0) for number in range(7)]

    batches = batches_from(0, plan, 2)
    expected = [next(batches) for _ in range(8)]
    for step in range(8):
        assert next(batches_from(step, plan, 2)) == expected[step]
    with pytest.raises(MendableError, match="fewer than batch_rows"):
        next(batches_from(0, plan, 8))
