"""The set-up script: a step runs once, again when its inputs change, and never counts as done when it failed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "bootstrap.py"


@pytest.fixture
def bootstrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "STAMPS", tmp_path)
    return module


def test_a_step_runs_once_and_again_when_its_inputs_change(bootstrap: ModuleType) -> None:
    ran = []
    for inputs in ("one", "one", "two"):
        with bootstrap.Step("packages", "Installing", inputs) as todo:
            if todo:
                ran.append(inputs)
    assert ran == ["one", "two"]


def test_a_step_that_failed_is_not_done(bootstrap: ModuleType) -> None:
    with pytest.raises(ZeroDivisionError), bootstrap.Step("packages", "Installing", "one"):
        raise ZeroDivisionError
    with bootstrap.Step("packages", "Installing", "one") as todo:
        assert todo


def test_what_is_missing_is_named_in_one_line_with_one_command(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = {"libnuma1": "for vLLM", "chromium": "for the browser tests"}
    monkeypatch.setattr(bootstrap, "missing_packages", lambda python, testing: missing)
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit):
        bootstrap.check_system(sys.executable, True)
    said = capsys.readouterr()
    assert said.out == "Missing on this system: libnuma1 (for vLLM); chromium (for the browser tests).\n"
    assert said.err == "Install it with: sudo apt-get install -y libnuma1 chromium\n"


@pytest.mark.processes
@pytest.mark.parametrize(
    ("system", "package"),
    [
        ('NAME="Debian GNU/Linux"\nID=debian\n', "chromium-headless-shell"),
        ("ID=ubuntu\nID_LIKE=debian\n", "chromium"),
        (None, "chromium"),
    ],
)
def test_the_browser_that_the_system_has_is_asked_for(
    bootstrap: ModuleType, system: str | None, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if system is not None:
        (tmp_path / "os-release").write_text(system)
    monkeypatch.setattr(bootstrap, "SYSTEM", tmp_path / "os-release")
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: None if name in bootstrap.BROWSERS else name)
    assert package in bootstrap.missing_packages(sys.executable, True)


@pytest.mark.processes
def test_a_python_that_does_not_fit_is_passed_over(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "OLDEST", (9, 0))
    monkeypatch.setattr(bootstrap, "NEWEST", (9, 1))
    with pytest.raises(SystemExit):
        bootstrap.find_python()


def test_an_old_python_can_read_the_script_and_say_what_is_wrong() -> None:
    import ast

    ast.parse(SCRIPT.read_text(), feature_version=(3, 8))


@pytest.mark.processes
def test_every_target_of_the_makefile_parses() -> None:
    for target in (
        "run",
        "test",
        "test-fast",
        "soak",
        "lint",
        "format",
        "lock",
        "backup",
        "bench-streaming",
        "miniature-pretrain",
    ):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
