"""The writing tasks: what a text may be asked to be. Each is one entry of `tasks.toml` beside this module.

Data stages, the constitution, the tools of a writing room and the pages read them from `TASKS`, so that a new entry is offered and
accepted everywhere.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

Shape = Literal["request", "context", "output", "quoted_output", "items"]
"""What a teacher writes beside the instruction: nothing, the context of the request, or the answer, as prose, with quotes, or as a list."""


class WritingTask(BaseModel):
    """A writing task, and how `training.instruct.backtranslate` finds requests for it that a good text answers.

    Ratios and shares compare what the teacher wrote with the text; both ends of a range are allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern=r"^[a-z]+(_[a-z]+)*$", max_length=20)
    """Its name in settings, in data and in the constitution; it never changes."""
    label: str = Field(max_length=40)
    """Its name for people."""
    description: str = Field(max_length=120)
    """What a writer gets, in one line."""

    prompt: str
    """What the teacher is asked to write."""
    variants: tuple[str, ...] = Field(min_length=1)
    """One of these is drawn for each text and added to the prompt, so that the rows differ."""
    shape: Shape
    human: bool = False
    """The answer is the text itself, by a person. Otherwise the teacher writes the answer."""
    whole: bool = False
    """The task needs the whole text, not a passage."""
    attached: bool = False
    """The text is part of the request."""

    length_ratio: tuple[float, float] = (0.0, 1e9)
    """Words that the teacher wrote for each word of the text."""
    changed_share: tuple[float, float] = (0.0, 1.0)
    """Share of the words that differ, 0 to 1."""
    min_common_share: float = 0.0
    """Least share of rare words in common (`training.instruct.checks.common_share`): an unrelated text has few."""
    may_quote: bool = True
    """What the teacher wrote may repeat whole sentences of the text."""
    max_item_words: int = 80
    """Words of an entry of a list."""

    @property
    def composes(self) -> bool:
        """Whether the answer is a whole text written from the request alone: such a request states a length and hides the ending."""
        return self.human and self.whole

    @model_validator(mode="after")
    def answer_is_not_attached(self) -> WritingTask:
        if self.human and self.attached:
            raise ValueError("the request would hold its answer: a task is `human` or `attached`, not both")
        return self


def _read() -> dict[str, WritingTask]:
    entries = tomllib.loads(Path(__file__).with_name("tasks.toml").read_text("utf-8"))["task"]
    return {entry["key"]: WritingTask.model_validate(entry) for entry in entries}


TASKS: dict[str, WritingTask] = _read()
"""The tasks by their keys, in the order of the file."""


class Tasks:
    """Marks a string as the key of a task. It is checked against `TASKS` when a value is, so that all entries count."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(_known, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"enum": list(TASKS)}


def _known(key: str) -> str:
    if key not in TASKS:
        raise PydanticCustomError("unknown_task", "Input should be one of {tasks}", {"tasks": ", ".join(TASKS)})
    return key


TaskKey = Annotated[str, Tasks()]
"""The key of a writing task. As JSON schema it is an enumeration."""


def task_choices() -> list[tuple[str, str]]:
    """(key, label) of each task, for forms and for Django's `choices`."""
    return [(key, task.label) for key, task in TASKS.items()]
