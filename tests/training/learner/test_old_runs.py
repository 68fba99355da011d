"""A run folder from before typed events, made by commit d3b7fa1: it is read, resumed and reported.

`old_run` was asked to stop after step 5, failed (the data was changed), was interrupted, asked to stop while it was getting ready, resumed, and
was killed after step 8. `finished.jsonl` has the events of the same run after that commit brought it to its end.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.training import models
from tests.training.recipes.runs import metric_by_step
from training.__main__ import main
from training.common.events import read_events
from training.common.records import Ended, Event, LogLine, ModelSaved, Resumed
from training.reporting.history import read_history
from training.reporting.report import SILENT_SECONDS, page

OLD = Path(__file__).with_name("old_run")
SHAPE = {
    "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run's folder beside its model and data; all paths in it are relative to the working directory."""
    monkeypatch.chdir(tmp_path)
    models.save(models.random_model("qwen3", **SHAPE), Path("model"))
    models.conversations(Path("data.jsonl"))
    models.conversations(Path("held_out.jsonl"), 6, seed=1)
    shutil.copytree(OLD, "run")
    return Path("run")


def typed(run: Path) -> list[Event]:
    """Its events without measures, phases, lines for people, and times."""
    found = [one for one in read_events(run / "events.jsonl") if isinstance(one, Resumed | ModelSaved | Ended)]
    return [one.model_copy(update={"time": 0}) for one in found]


HISTORY: list[Event] = [
    Ended(time=0, outcome="stopped", step=5),
    Ended(
        time=0,
        outcome="failed",
        reason="run holds a run on other data: the files were changed since. Put them back, or choose another run_dir.",
    ),
    Ended(time=0, outcome="interrupted"),
    Ended(time=0, outcome="stopped"),
    Resumed(time=0, checkpoint="run/checkpoints/step-000005", step=5),
]
SAVED = ModelSaved(time=0, path="run/model")


def test_its_sentences_are_read_as_records(run: Path) -> None:
    assert typed(run) == HISTORY
    lines = [one.text for one in read_events(run / "events.jsonl") if isinstance(one, LogLine)]
    assert len(lines) == 5
    assert all("conversations to learn" in line for line in lines)


def test_it_is_resumed_and_ends_as_it_would_have(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["sft", str(run / "settings.json")]) == 0
    assert typed(run) == [*HISTORY, HISTORY[-1], SAVED, Ended(time=0, outcome="done", step=20)]
    losses, grad_norms, held_out = (metric_by_step(run, measure) for measure in ("loss", "grad_norm", "held_out_loss"))
    shutil.copy(OLD / "finished.jsonl", run / "events.jsonl")
    assert list(losses) == list(range(1, 21))
    assert losses == pytest.approx(metric_by_step(run), rel=1e-4)
    assert grad_norms == pytest.approx(metric_by_step(run, "grad_norm"), rel=1e-4)
    assert held_out == pytest.approx(metric_by_step(run, "held_out_loss"), rel=1e-4)
    assert (run / "model" / "model.safetensors").exists()


def test_it_is_reported(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run)]) == 0
    killed = (run / "report.html").read_text()
    history = read_history(run / "events.jsonl")
    assert "it may have been killed" in page("run", history, "", now=history.ended + 2 * SILENT_SECONDS)
    assert "loss over the steps" in killed
    assert "Stopped after step 5, as asked" in killed
    assert "Failed: run holds a run on other data" in killed
    assert "Resuming from run/checkpoints/step-000005." in killed
    assert history.gaps > 0
    shutil.copy(OLD / "finished.jsonl", run / "events.jsonl")
    assert typed(run) == [*HISTORY, HISTORY[-1], SAVED]
    assert main(["report", str(run)]) == 0
    finished = (run / "report.html").read_text()
    assert "Finished" in finished
    assert "resumed from an earlier step, at 6" in finished
