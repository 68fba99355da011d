"""Mistakes in a settings file are explained in one line, before anything starts."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path, PosixPath

import pytest

from tests.training.conftest import ROOT
from training.common.errors import AskedToStop, MendableError
from training.config.settings import Settings, read_settings
from training.datasets.stage import stage
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


class _Interrupting(PosixPath):
    """A path while whose text is made a signal arrives."""

    number = signal.SIGINT

    def __str__(self) -> str:
        signal.raise_signal(self.number)
        return super().__str__()

    __fspath__ = __str__


class _Run(Settings):
    run_dir: Path


DUMPS: dict[str, Callable[[Settings], object]] = {
    "as JSON": lambda settings: settings.model_dump_json(indent=2),
    "as values": lambda settings: settings.model_dump(mode="json"),
    "of a stage": lambda settings: stage(settings, settings.run_dir).__enter__(),  # type: ignore[attr-defined]
}


@pytest.mark.parametrize("case", DUMPS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_while_settings_are_written(
    case: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its handler raises is raised, and not an error of pydantic; then the handler is there as before."""

    def stop(*_: object) -> None:
        raise AskedToStop

    monkeypatch.setattr(_Interrupting, "number", number)
    monkeypatch.setattr("training.datasets.stage.check_places", lambda *_: None)
    before = signal.signal(number, stop)
    try:
        inner = _Run.model_construct(run_dir=_Interrupting(tmp_path))
        settings = inner if case != "of a stage" else _Staged.model_construct(run_dir=tmp_path, inner=inner)
        with pytest.raises(AskedToStop):
            DUMPS[case](settings)
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)


class _Staged(Settings):
    run_dir: Path
    inner: _Run


def test_settings_are_written_in_other_threads_too(tmp_path: Path) -> None:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(_Run(run_dir=tmp_path).model_dump_json()))
    thread.start()
    thread.join()
    assert _Run.model_validate_json(found[0]).run_dir == tmp_path
