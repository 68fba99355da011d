"""Mistakes in a settings file are explained in one line, before anything starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.conftest import ROOT
from training.common.errors import MendableError
from training.config.settings import read_settings
from training.test_model.settings import DemoSettings

GOOD = 'run_dir = "run"\ncorpus = "stories.jsonl.gz"\nsteps = 10\nwarmup_steps = 2\n'


def read(tmp_path: Path, text: str, name: str = "run.toml") -> DemoSettings:
    path = tmp_path / name
    path.write_text(text)
    return read_settings(path, DemoSettings)


def test_toml_and_json_give_the_same_settings(tmp_path: Path) -> None:
    other = '{"run_dir": "run", "corpus": "stories.jsonl.gz", "steps": 10, "warmup_steps": 2}'
    assert read(tmp_path, GOOD) == read(tmp_path, other, "run.json")


def test_settings_are_the_same_after_writing_and_reading(tmp_path: Path) -> None:
    settings = read(tmp_path, GOOD)
    assert read(tmp_path, settings.model_dump_json(), "again.json") == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "lerning_rate = 1.0", "lerning_rate: Extra inputs"),
        (GOOD + 'seed = "many"', "seed: Input should be a valid integer"),
        (GOOD.replace("10", "0"), "steps: Input should be greater than or equal to 1"),
        (GOOD + "decay_steps = 9", "warmup_steps and decay_steps together are more than steps"),
        (GOOD + "batch_rows = 3", "must be a multiple of micro_rows"),
        (GOOD + "[shape]\nheads = 3", "must be a multiple of kv_heads"),
        (GOOD + "[shape]\ncontext = 64", "sequence_length is more than the model's context"),
        ("steps =", "not valid toml"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MendableError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert "run.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MendableError, match="No such file"):
        read_settings(tmp_path / "none.toml", DemoSettings)


@pytest.mark.processes
def test_the_command_prints_one_line_and_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(GOOD.replace("stories", str(tmp_path / "none")).replace('"run"', f'"{tmp_path / "run"}"'))
    command = [sys.executable, "-m", "training", "demo", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith("none.jsonl.gz does not exist; name the file in the setting `corpus`.")
    assert "Traceback" not in done.stderr


@pytest.mark.processes
def test_settings_are_readable_without_torch() -> None:
    code = "import sys, training.config.settings, training.common.records, training.recipes.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
