"""The worked cases that teachers are shown pass the checks that answers must pass."""

from __future__ import annotations

import pytest

from training.common.records import Task
from training.datasets.rejected import Dropped
from training.instruct import checks
from training.instruct.cases import Case, cases_of, plan_cases
from training.instruct.checks import Drop, found_well, plans_well
from training.instruct.settings import ALL_TASKS
from training.instruct.tasks import WAYS

CASES = [(task, case) for task in ALL_TASKS for case in cases_of(task)]


def test_each_task_has_a_way_and_cases() -> None:
    assert set(WAYS) == set(ALL_TASKS)
    assert all(2 <= len(cases_of(task)) <= 5 for task in ALL_TASKS)
    assert [task for task in ALL_TASKS if WAYS[task].human] == [
        "write",
        "expand",
        "polish",
        "condense",
        "style_transfer",
    ]
    assert not any(way.human and way.shown for way in WAYS.values())


@pytest.mark.parametrize(("task", "case"), CASES, ids=[f"{task}-{case.source.key}" for task, case in CASES])
def test_a_case_passes(task: Task, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Dropped) as dropped:  # as an answer about its own text it would be a copy
        found_well(WAYS[task], case.source.text, case.answer)
    assert dropped.value.reason == Drop.CASE
    monkeypatch.setattr(checks, "_runs_of_cases", lambda task: frozenset())
    found_well(WAYS[task], case.source.text, case.answer)


def test_a_plan_passes() -> None:
    for case in plan_cases():
        plans_well(case.source.text, case.plan.thinking)
