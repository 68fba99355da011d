"""GRPO from the form to a version, with a real vLLM of the run's own: its rewards are rules, so no judge is needed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.servers import DEMO_MODEL
from tests.workers.jobs.site import wait, work
from training.common.text import story_request
from training.rollouts.records import Dump
from training.serving.vllm import importable
from workers import processes
from workers.folders import private, run_folder
from workers.jobs.datasets import add_dataset
from workers.jobs.keeper import Keeper
from workers.jobs.runs import planning
from writer.accounts.models import User
from writer.stories.models import ModelVersion
from writer.studio.defaults import defaults_of
from writer.studio.forms import form_of
from writer.studio.measures import before_and_after
from writer.studio.models import Dataset, Run, RunState
from writer.studio.operations.ask_run import draft_run, start_run, stop_run

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.model,
    pytest.mark.xdist_group("rollout server"),
    pytest.mark.skipif(
        not importable(), reason="vLLM is not installed here (requirements/cpu.txt or requirements/gpu.txt)"
    ),
]
SHORT = {
    "steps": "2", "batch": "2", "group": "3", "context": "256", "checkpoint_every": "1", "human.ramp": "0", "sampling.most_tokens": "48",
    "rewards.min_std": "0",
}  # fmt: skip


@pytest.fixture
def demo(site: Path) -> ModelVersion:
    return ModelVersion.objects.create(name="demo", served_name="demo", tokenizer=str(DEMO_MODEL), is_demo=True)


@pytest.fixture
def requests(site: Path) -> Dataset:
    folder, lines = private(site / "brought"), []
    for number in range(4):
        asked = [
            dict(one) for one in story_request(title=f"The lamp, {number}", premise="A keeper alone.", target=1000)
        ]
        human = {"role": "assistant", "content": f"The lamp was lit at {number}. Nobody came up the stairs that night."}
        lines.append({"messages": [*asked, human] if number % 2 else asked})
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return add_dataset("Requests", folder)


def begun(demo: ModelVersion, requests: Dataset, admin: User, **more: str) -> Run:
    form = form_of("grpo", defaults_of("grpo", demo))
    usual = {name: text for name, text in form.typed.items() if text}
    run = draft_run(
        by=admin, recipe="grpo", typed=usual | SHORT | more, data=f"dataset:{requests.pk}", base=str(demo.pk)
    )
    planning.make(run.pk)
    run.refresh_from_db()
    assert run.plan is not None
    assert "problem" not in run.plan, run.plan
    return start_run(by=admin, run_id=run.pk)


def test_from_the_form_to_a_version(keeper: Keeper, demo: ModelVersion, requests: Dataset, admin: User) -> None:
    run = work(keeper, begun(demo, requests, admin), RunState.DONE, RunState.FAILED, seconds=400)
    assert run.state == RunState.DONE, run.problem
    assert run.version is not None
    assert (run.version.writes, run.version.parent, run.step) == (True, demo, 2)
    folder = run_folder(run)

    def left() -> set[str]:
        return {path.name for path in folder.iterdir()}

    # What is not needed any more goes after the version is there.
    wait(lambda: not left() & {"checkpoints", "data"}, 60, "the run's folder is not tidied")
    assert {"model", "adapter", "rollouts", "events.jsonl"} <= left()
    assert {path.name for path in (folder / "rollouts").glob("step-*")} == {"step-00001.jsonl"}
    dump = Dump(folder / "rollouts" / "step-00001.jsonl")
    dump.close()
    assert all(len(one.tokens) for one in dump.stories.values())
    names = {one.name for one in before_and_after(run)}
    assert {"Reward in all", "Reward: repetition", "Entropy, nats a token"} <= names
    assert not processes.processes_of(folder)


@pytest.mark.soak
def test_its_server_ends_with_it(keeper: Keeper, demo: ModelVersion, requests: Dataset, admin: User) -> None:
    run = begun(demo, requests, admin, steps="1000")
    work(keeper, run, RunState.RUNNING)
    folder = run_folder(run)

    def server() -> list[int]:
        return [one.pid for one in processes.processes_of(folder) if "--served-model-name" in one.cmdline()]

    wait(server, 400, "its server has no mark")
    stop_run(by=admin, run_id=run.pk)
    stop_run(by=admin, run_id=run.pk, at_once=True)
    run = work(keeper, run, RunState.STOPPED, RunState.FAILED, seconds=120)
    assert run.state == RunState.STOPPED, run.problem
    assert not processes.processes_of(folder)
