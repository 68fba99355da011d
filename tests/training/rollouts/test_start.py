"""What a run does before its first story, and what of the weights it hands over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.training import models
from training.config.learner import LearnerSettings
from training.learner import processes
from training.learner.engine import Learner
from training.learner.models import prepare
from training.learner.run import Run
from training.recipes.grpo import GrpoSettings
from training.rollouts.run import Rollouts, open_rollouts


def test_no_process_goes_on_before_the_server_has_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the others load their part of the model while the server measures what memory is free."""
    models.save(models.random_model("qwen3"), tmp_path / "model")
    data = models.conversations(tmp_path / "data.jsonl", 2)
    settings = GrpoSettings.model_validate(
        {"run_dir": tmp_path / "run", "model": tmp_path / "model", "data": (data,), "context": 1024, "rewards": {"weights": {"repetition": 1.0}}}
    )  # fmt: skip
    done: list[str] = []
    with Run(settings) as run:
        monkeypatch.setattr(Rollouts, "open", lambda *_: done.append("the server is up"))
        monkeypatch.setattr(processes, "barrier", lambda: done.append("all are here"))
        with open_rollouts(run, settings):
            assert done == ["the server is up", "all are here"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_adapters_are_handed_over_without_the_weights_below_them(precision: Any) -> None:
    settings = LearnerSettings(precision=precision, lora={"rank": 4, "alpha": 8}, threads=1)
    learner = Learner(prepare(models.random_model("qwen3"), settings), settings, packed=True)
    every, trained = learner.engine.weights(), learner.engine.weights(trained=True)
    assert trained.keys() == {name for name in every if ".lora_" in name}
    assert all(trained[name].data_ptr() == every[name].data_ptr() for name in trained)
