"""The worked cases that a teacher is shown, from `cases.toml`: a text, and an answer for one task with its reason (Weaver 3.3).

Weaver shows five for each kind of text and task, annotated by people. There are two for each task here, written for this project;
they pass the checks that answers must pass.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from training.common.records import Domain, Passage
from training.common.tasks import TASKS
from training.instruct.answers import SHAPES, Plan, TaskAnswer


class Source(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    domain: Domain
    text: Passage


class Case(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Source
    answer: TaskAnswer


class PlanCase(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Source
    instruction: str
    plan: Plan


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("cases.toml").read_text(encoding="utf-8"))


@cache
def _sources() -> dict[str, Source]:
    return {entry["key"]: Source.model_validate(entry) for entry in _file()["text"]}


@cache
def cases_of(task: str) -> tuple[Case, ...]:
    """The cases of the task with this key, in the order of the file."""
    return tuple(
        Case(source=_sources()[entry["text"]], answer=SHAPES[TASKS[task].shape].model_validate(entry["answer"]))
        for entry in _file()["case"]
        if entry["task"] == task
    )


@cache
def plan_cases() -> tuple[PlanCase, ...]:
    """The cases of plans, in the order of the file."""
    return tuple(
        PlanCase(
            source=_sources()[entry["text"]],
            instruction=entry["instruction"],
            plan=Plan(thinking=entry["thinking"].strip()),
        )
        for entry in _file()["plan"]
    )
