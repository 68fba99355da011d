"""A reward of another package, found by its entry point: this project does not contain its name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.servers import DEMO_MODEL
from tests.training import models
from tests.training.conftest import ROOT
from training.config import declarations
from training.config.declarations import Registry, Reward
from training.rewards.registry import OURS
from training.rewards.settings import RewardSettings

OUTSIDE = ROOT / "tests" / "outside"
JUDGE = {"url": "http://judge", "model": "mole"}
IMPORTS = "from pydantic import Field\nfrom training.config.declarations import Reward\nfrom training.config.settings import Settings\n"


def run(*arguments: str, package: Path = OUTSIDE) -> subprocess.CompletedProcess[str]:
    """A process of its own: packages are found when it starts."""
    path = os.pathsep.join([str(package), str(ROOT)])
    return subprocess.run(
        [sys.executable, *arguments], env=os.environ | {"PYTHONPATH": path}, cwd=ROOT, capture_output=True, text=True
    )


def package(folder: Path, entry_points: str, code: str = "") -> Path:
    (folder / "other-1.0.dist-info").mkdir()
    (folder / "other-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (folder / "other-1.0.dist-info" / "entry_points.txt").write_text(f"[longhand.rewards]\n{entry_points}\n")
    (folder / "other.py").write_text(f"{IMPORTS}{code}\n")
    return folder


SCORES = """
import asyncio, json, sys
from training.config.declarations import Resources
from training.rewards.registry import REWARDS, needs_of
from training.rewards.settings import RewardSettings
assert not {"torch", "transformers", "openai", "httpx"} & sys.modules.keys()

from training.datasets.requests import Request
from training.rewards.scoring import Scoring

async def judge(question):
    return question.answer(warm=True) if "out" not in question.messages[0]["content"] else None

given = RewardSettings.model_validate({"weights": {"warmth": 0.5, "length": -1.0}, "warmth": {"most": 2}, "judge": JUDGE})
request = Request(({"role": "user", "content": "Write."},), (1,), None, None, "")
scoring = Scoring(given, Resources(judge=judge))
texts = ("<think>warm</think>warm, warm, warm", "The lamp is out.")
found = [asyncio.run(scoring.score(request, text)) for text in texts]
print(json.dumps({
    "meaning": REWARDS["warmth"].meaning, "last": [*REWARDS][-1], "needs": sorted(needs_of(given.weights)),
    "rewards": [one.rewards for one in found], "notes": found[0].notes["warm_words"], "default": RewardSettings(judge=JUDGE).warmth.most,
}))
"""


@pytest.mark.processes
def test_it_is_in_registry_and_settings_and_scores() -> None:
    done = run("-c", SCORES.replace("JUDGE", repr(JUDGE)))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "meaning": "Counts how often a story that a judge finds warm says so.", "last": "warmth", "needs": ["judge"],
        "rewards": [{"warmth": 2.0, "length": None}, {"warmth": None, "length": None}], "notes": 3.0, "default": 3,
    }  # fmt: skip


FORM = """
import json, os
os.environ["DJANGO_SETTINGS_MODULE"] = "webapp.settings"
import django
django.setup()
from writer.studio.forms import form_of, read
from writer.studio.measures import NAMES
form = form_of("grpo")
fields = {one.name: one for one in form.fields}
typed = {one.name: one.shown for one in form.fields if one.shown} | {"rewards.weights.warmth": "0.5", "rewards.warmth.most": "7"}
_, values = read("grpo", typed)
wrong, none = read("grpo", typed | {"rewards.warmth.most": "101"})
print(json.dumps({
    "help": fields["rewards.weights.warmth"].help, "entry": fields["rewards.weights.warmth"].entry, "weight": values["rewards"]["weights"]["warmth"],
    "most": values["rewards"]["warmth"], "wrong": wrong.errors, "none": none, "measure": NAMES["reward_warmth"],
}))
"""


@pytest.mark.processes
def test_it_is_in_the_form_of_grpo() -> None:
    done = run("-c", FORM)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "help": "Counts how often a story that a judge finds warm says so.", "entry": True, "weight": 0.5, "most": {"most": 7},
        "wrong": {"rewards.warmth.most": "Enter a number, 1 or more and at most 100."}, "none": None, "measure": "Reward: warmth",
    }  # fmt: skip


@pytest.mark.processes
def test_a_run_with_it_is_planned(tmp_path: Path) -> None:
    data = models.write_lines(
        tmp_path / "data.jsonl", [{"messages": [{"role": "user", "content": "Write of a lamp."}]}]
    )
    values: dict[str, Any] = {
        "recipe": "grpo", "run_dir": str(tmp_path / "run"), "model": str(DEMO_MODEL), "data": [str(data)], "batch": 1, "steps": 2,
        "rewards": {"weights": {"warmth": 1.0}, "judge": JUDGE, "warmth": {"most": 4}},
    }  # fmt: skip
    path = tmp_path / "run.json"
    path.write_text(json.dumps(values))
    planned = run("-m", "training", "plan", str(path))
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.startswith("grpo of model")
    values["rewards"] |= {"judge": None}
    path.write_text(json.dumps(values))
    refused = run("-m", "training", "plan", str(path))
    assert refused.returncode == 2
    assert "the reward warmth needs judge" in refused.stderr


@pytest.mark.processes
def test_one_that_is_broken_is_refused_in_one_sentence(tmp_path: Path) -> None:
    refused = run("-m", "training", "--help", package=package(tmp_path, "odd = other:NONE"))
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        "The entry point odd of longhand.rewards (other:NONE) cannot be loaded: module 'other' has no attribute 'NONE'."
    ]


SITE = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "webapp.settings"
import django
django.setup()
from django.core import checks
from writer.studio.forms import form_of
print([str(one.msg) for one in checks.run_checks() if one.id == "studio.W001"])
print([one.name for one in form_of("grpo").fields if one.name.startswith(("rewards.odd", "rewards.weights.odd"))])
"""


@pytest.mark.processes
def test_one_that_is_broken_does_not_take_the_site_down(tmp_path: Path) -> None:
    """It is logged, a warning of the checks, and not in the form."""
    done = run("-c", SITE, package=package(tmp_path, "odd = other:ODD", declared("phrase: str = 'warm'")))
    assert done.returncode == 0, done.stderr
    *logged, warned, fields = done.stdout.splitlines()
    says = "The entry point odd of longhand.rewards (other:ODD) cannot be loaded: the setting rewards.odd.phrase has a type"
    assert says in warned
    assert fields == "[]"
    assert says in done.stderr + "".join(logged)


def declared(setting: str, name: str = "odd") -> str:
    """A reward with this setting."""
    return f"class Given(Settings):\n    {setting}\nODD = Reward(name={name!r}, meaning='', score=len, settings=Given)"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("ODD = 7", "The entry point odd of longhand.rewards (other:ODD) is not a Reward."),
        ("ODD = Reward(name='odd', meaning='', score=len, needs=('luck',))", "cannot be loaded: the reward odd needs luck, which does not exist."),
        ("ODD = Reward(name='odd one', meaning='', score=len)", "'odd one' cannot be the name of a reward: use letters, digits and underscores."),
        (declared("most: int"), "cannot be loaded: the reward odd has a setting without a default."),
        ("ODD = Reward(name='length', meaning='', score=len)", "has the name 'length', which is in use: remove one of the packages."),
        (declared("most: int = 1", "judge"), "cannot be loaded: the reward judge cannot have settings: `rewards.judge` is another setting."),
        (declared("phrase: str = 'warm'"), "use a number with bounds, a choice or a switch, or mark it NotAsked()."),
        (declared("most: int = 3"), "the setting rewards.odd.most has no bounds, so it cannot be part of a form."),
        (declared("most: int = Field(3, ge=1)"), "the setting rewards.odd.most has no bounds, so it cannot be part of a form."),
        (declared("words: tuple[str, ...] = ('warm',)"), "or mark it NotAsked()."),
        (declared("share: dict[str, float] = {}"), "or mark it NotAsked()."),
        ("import sys\nsys.exit('no licence')", "cannot be loaded: no licence."),
    ],
)  # fmt: skip
def test_one_that_is_declared_wrong_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, says: str
) -> None:
    monkeypatch.syspath_prepend(str(package(tmp_path, "odd = other:ODD", code)))
    monkeypatch.delitem(sys.modules, "other", raising=False)
    problems: list[str] = []
    monkeypatch.setattr(declarations, "PROBLEMS", problems)
    assert [*Registry(Reward, OURS, "longhand.rewards")] == [one.name for one in OURS]
    assert len(problems) == 1
    assert problems[0].startswith("The entry point odd of longhand.rewards (other:ODD) ")
    assert problems[0].endswith(says)


def test_no_reward_takes_the_name_of_a_setting() -> None:
    tables = {one.name for one in OURS if one.settings}
    assert RewardSettings.model_fields.keys() - tables == declarations.RESERVED
