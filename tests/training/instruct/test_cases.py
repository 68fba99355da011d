"""The worked cases that a teacher is shown pass the checks for its answers."""

from __future__ import annotations

import pytest

from training.common.tasks import TASKS
from training.datasets.rejected import Rejected
from training.instruct import checks
from training.instruct.cases import Case, cases_of, plan_cases
from training.instruct.checks import Reason, check_answer, check_plan

CASES = [(task, case) for task in TASKS for case in cases_of(task)]


def test_each_task_has_cases() -> None:
    assert all(2 <= len(cases_of(task)) <= 5 for task in TASKS)
    assert [key for key, task in TASKS.items() if task.human] == [
        "write",
        "expand",
        "polish",
        "condense",
        "style_transfer",
    ]
    assert not any(task.human and task.attached for task in TASKS.values())


@pytest.mark.parametrize(("task", "case"), CASES, ids=[f"{task}-{case.source.key}" for task, case in CASES])
def test_a_case_passes_the_checks(task: str, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Rejected) as rejected:  # as an answer about its own text it would be a copy
        check_answer(TASKS[task], case.source.text, case.answer)
    assert rejected.value.reason == Reason.CASE
    monkeypatch.setattr(checks, "_ngrams_of_cases", lambda task: frozenset())
    check_answer(TASKS[task], case.source.text, case.answer)


def test_a_plan_passes_the_checks() -> None:
    for case in plan_cases():
        check_plan(case.source.text, case.plan.thinking)
