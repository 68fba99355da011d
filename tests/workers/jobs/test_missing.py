"""A recipe or a stage of a package that is not installed on this machine, or not any longer: whoever waits for it hears of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.workers.jobs.site import snapshot_of, wait, work
from training.common.errors import MendableError
from training.recipes.registry import RECIPES, STAGES
from workers.folders import run_folder
from workers.jobs.keeper import Keeper
from workers.jobs.runs import claim, planning
from writer.accounts.models import User
from writer.stories.models import ModelVersion
from writer.studio.models import Gpu, Machine, Run, RunState
from writer.studio.registry import DECLARED

MISSING = "The recipe toy is not installed on this machine: install its package for the site and for its workers."


@pytest.fixture
def of_toy(queued: Callable[..., Run]) -> Run:
    """A run in the queue whose recipe has vanished since."""
    run = queued()
    Run.objects.filter(pk=run.pk).update(recipe="toy")
    return run


@pytest.mark.parametrize("registry", [RECIPES, STAGES, DECLARED])
def test_the_look_up_of_a_missing_one_says_what_to_do(registry: Any) -> None:
    with pytest.raises(MendableError, match="toy is not installed on this machine: install its package"):
        registry["toy"]
    assert "toy" not in registry
    assert registry.get("toy") is None


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_a_run_fails_and_gives_its_gpu_back(keeper: Keeper, of_toy: Run) -> None:
    run = work(keeper, of_toy, RunState.FAILED, seconds=60)
    assert run.problem == MISSING
    assert not Gpu.objects.exclude(run=None).exists()


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("wish", ["stop", "kill"])
def test_a_run_that_died_is_not_started_only_to_be_stopped(
    keeper: Keeper, here: Machine, of_toy: Run, wish: str
) -> None:
    run = claim.claim(here)
    assert run == of_toy
    Run.objects.filter(pk=run.pk).update(wish=wish)
    keeper._follow(run.pk)
    wait(lambda: Run.objects.get(pk=run.pk).state != RunState.RUNNING, 60)
    run.refresh_from_db()
    assert (run.state, run.problem) == (RunState.STOPPED, "")
    assert not (run_folder(run) / "output.log").exists()
    assert not Gpu.objects.exclude(run=None).exists()


@pytest.mark.django_db
@pytest.mark.parametrize("stage", [True, False])
def test_a_draft_says_why_it_cannot_be_planned(base: ModelVersion, admin: User, stage: bool) -> None:
    run = Run.objects.create(
        recipe="toy", settings={}, snapshot=snapshot_of(4), by=admin, base=None if stage else base, gpus=not stage
    )
    planning.make(run.pk)
    run.refresh_from_db()
    assert run.plan == {"problem": MISSING, "notes": []}


@pytest.mark.django_db
def test_a_draft_is_not_planned_for_ever(queued: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe of another package may raise anything."""
    run = queued()
    Run.objects.filter(pk=run.pk).update(state=RunState.DRAFT, plan=None)

    def fail(*_: object, **__: object) -> None:
        raise KeyError("batch")

    monkeypatch.setattr(planning, "make_plan", fail)
    planning.make(run.pk)
    run.refresh_from_db()
    assert run.plan is not None
    assert run.plan["problem"] == "An unexpected error occurred while it was planned; see the worker's log."
