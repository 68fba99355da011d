"""The settings of a GRPO run that the site fills in: judges, principles, reward model; and the stories that are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.constitution.recorded import PRINCIPLES
from training.common.errors import MendableError
from training.common.records import Principle
from training.config.settings import read_settings
from training.recipes.grpo import GrpoSettings
from workers.folders import model_path, private, run_folder
from workers.jobs.datasets import add_dataset
from workers.jobs.runs import planning, results, rewards
from workers.jobs.runs.material import prepare
from writer.accounts.models import User
from writer.editorial.models import PrincipleState
from writer.editorial.operations.import_constitution import import_constitution
from writer.stories.models import ModelVersion
from writer.studio.defaults import defaults_of
from writer.studio.models import Dataset, Run

pytestmark = pytest.mark.django_db
Settings = Any


@pytest.fixture
def judged(settings: Settings) -> Settings:
    settings.JUDGE_URL, settings.JUDGE_MODEL, settings.JUDGE_KEY = "http://judge", "mole", "a secret"
    settings.SECOND_JUDGE_URL, settings.SECOND_JUDGE_MODEL = "http://other", "owl"
    settings.SECOND_JUDGE_KEY = "another secret"
    return settings


@pytest.fixture
def requests(site: Path) -> Dataset:
    folder = private(site / "brought")
    asked = [{"role": "user", "content": "A tale of a lamp. It should be 100 words long."}]
    human = {"role": "assistant", "content": "The lamp was lit."}
    lines: list[dict[str, Any]] = [{"messages": asked, "target": 120}] * 4
    lines += [{"messages": [*asked, human], "thinking": "A lamp, then."}] * 4
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "held_out.jsonl").write_text(json.dumps({"messages": asked}) + "\n")
    return add_dataset("Requests", folder)


@pytest.fixture
def asked(base: ModelVersion, requests: Dataset, admin: User) -> Callable[..., Run]:
    def make(*, weights: dict[str, float] | None = None, **given: Any) -> Run:
        values = defaults_of("grpo", base) | {"batch": 2, "context": 256}
        values["rewards"] |= {"weights": weights or {"quality": 1.0, "length": -0.8}}
        values["rewards"]["judge"] |= {"at_once": 7, "most_money": 2.5}
        return Run.objects.create(recipe="grpo", settings=values, base=base, dataset=requests, by=admin, **given)

    return make


def read(run: Run) -> GrpoSettings:
    return read_settings(prepare(run), GrpoSettings)


def test_the_recipe_reads_what_the_site_wrote(judged: Settings, asked: Callable[..., Run], base: ModelVersion) -> None:
    judged.JUDGE_OUTSIDE, judged.SECOND_JUDGE_OUTSIDE = False, True
    run = asked()
    found = read(run)
    folder = run_folder(run)
    assert (found.run_dir, found.model) == (folder, model_path(base))
    judge, second = found.rewards.judge, found.guards.judge
    assert judge is not None
    assert second is not None
    assert (judge.url, judge.model, judge.key_variable) == ("http://judge", "mole", "JUDGE_KEY")
    assert (second.url, second.model, second.key_variable) == ("http://other", "owl", "SECOND_JUDGE_KEY")
    assert {(one.at_once, one.most_money) for one in (judge, second)} == {(7, 2.5)}
    assert (judge.inside, second.inside) == (True, False)
    assert (found.rewards.ranges, found.rewards.preference, found.rewards.constitution) == (None, None, None)
    assert (found.rollouts.url, found.rollouts.sync, found.replay) == ("", "memory", None)
    lines = [json.loads(line) for line in found.data[0].read_text().splitlines()]
    assert [line.get("target") for line in lines] == [120] * 4 + [None] * 4
    assert lines[-1]["thinking"] == "A lamp, then."
    assert len(found.held_out[0].read_text().splitlines()) == 1
    assert "secret" not in (folder / "run.json").read_text()
    assert rewards.keys() == {"JUDGE_KEY": "a secret", "SECOND_JUDGE_KEY": "another secret"}


def test_only_rewards_that_are_used_are_filled_in(
    judged: Settings, asked: Callable[..., Run], base: ModelVersion
) -> None:
    judged.JUDGE_URL = judged.SECOND_JUDGE_URL = ""
    found = read(asked(weights={"length": -1.0}))
    assert (found.rewards.judge, found.guards.judge) == (None, None)
    for name in ("quality", "principles", "range"):
        with pytest.raises(MendableError, match="There is no judge: set JUDGE_URL"):
            read(asked(weights={name: 1.0}))
    judged.JUDGE_URL = "http://judge"
    records = [Principle.model_validate({"domains": ["fiction"], "tasks": ["write"]} | one) for one in PRINCIPLES]
    import_constitution(by=None, records=records, meaning_changed=False, state=PrincipleState.IN_FORCE)
    taste = ModelVersion.objects.create(
        name="taste", served_name="taste", tokenizer="-", folder="runs/77", sha256="7" * 64, writes=False
    )
    found = read(asked(weights={"principles": 1.0, "range": 1.0, "preference": 1.0}, reward_model=taste))
    assert found.rewards.constitution is not None
    assert PRINCIPLES[0]["name"] in found.rewards.constitution.read_text()
    assert found.rewards.ranges == found.rewards.judge
    assert found.rewards.preference == model_path(taste)
    with pytest.raises(MendableError, match="reward model of this run has been deleted"):
        read(asked(weights={"preference": 1.0}))


def test_a_second_judge_is_another_one(judged: Settings, asked: Callable[..., Run]) -> None:
    judged.SECOND_JUDGE_URL, judged.SECOND_JUDGE_MODEL = "http://judge", "mole"
    with pytest.raises(MendableError, match="name the first judge"):
        read(asked())


def test_requests_without_an_answer_are_for_grpo_alone(base: ModelVersion, requests: Dataset, admin: User) -> None:
    run = Run.objects.create(recipe="sft", settings=defaults_of("sft", base), base=base, dataset=requests, by=admin)
    with pytest.raises(MendableError, match="Requests contains requests without an answer"):
        prepare(run)


def test_it_is_planned(judged: Settings, asked: Callable[..., Run]) -> None:
    run = asked()
    planning.make(run.pk)
    run.refresh_from_db()
    assert run.plan is not None
    assert "problem" not in run.plan, run.plan
    assert (run.plan["rows"], run.plan["held_out"], run.plan["steps"]) == (8, 1, 4)
    assert run.plan["judges"][0].startswith("mole at")
    assert "The server that writes the stories" in run.plan["text"]


def test_of_its_stories_the_last_step_and_the_looks_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("step-00000", "step-00001", "step-00010", "held-out-00005", "held-out-00010", "looks"):
        (tmp_path / f"{name}.jsonl").write_text("x" * 100)
    results._thin(tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {"step-00010", "held-out-00005", "held-out-00010", "looks"}
    monkeypatch.setattr(results, "MOST_ROLLOUTS", 350)
    results._thin(tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {"step-00010", "looks", "held-out-00010"}
    results._thin(tmp_path / "not there")
