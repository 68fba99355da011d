"""A recipe of another package, from its entry point to a version in service: this project does not contain its name."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import DEMO_MODEL, ServedModel
from tests.workers.jobs.site import here, keeper, site, work
from training.common.text import story_request
from training.config.declarations import Recipe, Registry
from training.recipes.registry import RECIPES
from workers.addresses import site_server
from workers.folders import private
from workers.jobs.datasets import add_dataset
from workers.jobs.keeper import Keeper
from workers.jobs.runs import planning
from workers.serving.keeper import ServingKeeper
from workers.serving.loading import unload_adapter
from writer.accounts.models import User
from writer.stories.models import ModelVersion
from writer.stories.operations.deploy import in_service
from writer.stories.operations.models import ensure_model_version
from writer.studio.forms import form_of
from writer.studio.models import Machine, Run, RunState
from writer.studio.operations.ask_run import draft_run, start_run
from writer.studio.operations.deploy import promote
from writer.studio.registry import DECLARED

__all__ = ["here", "keeper", "site"]

OUTSIDE = Path(__file__).parents[1] / "outside"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recipe]:
    """The package, for this process and those that it starts; a real one is installed before anything starts."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(OUTSIDE), os.environ.get("PYTHONPATH")])))
    monkeypatch.syspath_prepend(str(OUTSIDE))
    importlib.invalidate_caches()
    recipe = Registry(Recipe, [], "longhand.recipes")["toy"]
    monkeypatch.setitem(RECIPES, recipe.name, recipe)
    yield recipe
    for name in [name for name in sys.modules if name.partition(".")[0] == "longhand_toy"]:
        del sys.modules[name]


@pytest.fixture
def home(site: Path, model_server: ServedModel, settings: Any) -> ModelVersion:
    settings.MODEL_SERVER_URL, settings.MODEL_SERVER_KEY = model_server.url, model_server.key
    settings.MODEL, settings.MODEL_NAME = model_server.name, "demo model"
    return ensure_model_version()


def conversations(folder: Path, number: int = 12) -> Path:
    path = private(folder) / "train.jsonl"
    with path.open("w") as file:
        for place in range(number):
            asked = story_request(title=f"The lamp, {place}", premise="A keeper alone.", target=30)
            told = {
                "role": "assistant",
                "content": f"The lamp was lit at {place}. Nobody came up the stairs that night.",
            }
            file.write(json.dumps({"messages": [*asked, told]}) + "\n")
    return path


def run_command(*arguments: str, path: tuple[Path, ...] = (OUTSIDE,)) -> subprocess.CompletedProcess[str]:
    found = os.pathsep.join(map(str, (*path, OUTSIDE.parents[1])))
    return subprocess.run(
        [sys.executable, "-m", "training", *arguments], env=os.environ | {"PYTHONPATH": found}, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.processes
def test_the_command_line_knows_it_and_plans_it(tmp_path: Path) -> None:
    assert "Learns how answers end." in run_command("--help").stdout
    path = tmp_path / "toy.json"
    values = {
        "recipe": "toy",
        "run_dir": str(tmp_path / "run"),
        "model": str(DEMO_MODEL),
        "data": [str(conversations(tmp_path))],
    }
    path.write_text(json.dumps(values))
    planned = run_command("plan", str(path))
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.startswith("toy of model on 1 x a100-80")
    assert "tokens in 12 texts" in planned.stdout


@pytest.mark.processes
@pytest.mark.parametrize(
    ("entry_points", "code", "says"),
    [
        ("[longhand.recipes]\nother = not_there:RECIPE", "", "(not_there:RECIPE) cannot be loaded: No module named 'not_there'."),
        ("[longhand.recipes]\nother = other:RECIPE", "from longhand_toy import RECIPE", "the name 'toy', which is in use: remove one of the packages."),
        ("[longhand.recipes]\nother = other:ODD", "ODD = replace(RECIPE, name='plan')", "the name 'plan', which is in use: remove one of the packages."),
        ("[longhand.stages]\nother = other:ODD", "ODD = replace(TOOLS, name='sft')", "the name 'sft', which is in use: remove one of the packages."),
    ],
)  # fmt: skip
def test_a_package_that_is_broken_is_named(tmp_path: Path, entry_points: str, code: str, says: str) -> None:
    folder = private(tmp_path / "other-1.0.dist-info")
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"{entry_points}\n")
    imports = "from dataclasses import replace\nfrom longhand_toy import RECIPE\nfrom training.instruct.data_settings import TOOLS"
    (tmp_path / "other.py").write_text(f"{imports}\n{code}\n")
    refused = run_command("--help", path=(OUTSIDE, tmp_path))
    assert refused.returncode == 2
    [line] = refused.stderr.splitlines()
    assert line.startswith("The entry point other of longhand.")
    assert line.endswith(says)


@pytest.mark.model
@pytest.mark.django_db(transaction=True)
def test_from_its_form_to_a_version_in_service(
    installed: Recipe, keeper: Keeper, here: Machine, home: ModelVersion, admin: User, tmp_path: Path
) -> None:
    assert DECLARED["toy"] is installed
    dataset = add_dataset("Endings", conversations(tmp_path / "brought").parent)
    form = form_of("toy")
    assert {"last", "batch", "learner.learning_rate"} <= {one.name for one in form.fields}
    typed = {one.name: one.shown for one in form.fields if one.shown} | {
        "steps": "2", "batch": "2", "context": "256", "last": "4", "learner.precision": "float32",
        "learner.lora": "yes", "learner.lora.rank": "4",
    }  # fmt: skip
    run = draft_run(by=admin, recipe="toy", typed=typed, data=f"dataset:{dataset.pk}", base=str(home.pk))
    planning.make(run.pk)
    run = start_run(by=admin, run_id=run.pk)
    run = work(keeper, run, RunState.DONE, RunState.FAILED, seconds=200)
    assert (run.state, run.problem, run.label) == (RunState.DONE, "", "Last words")
    assert run.version is not None
    promote(by=admin, version_id=run.version.pk, overrule=True, reason="It is a test of ours.")
    try:
        ServingKeeper().look()
        assert in_service() == run.version
    finally:
        unload_adapter(*site_server(), run.version.served_name)
    assert Run.objects.get().version == run.version
