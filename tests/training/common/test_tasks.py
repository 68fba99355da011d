"""The table of writing tasks, and that a new entry is known everywhere."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.training.toy_task import TOY
from training.common.records import Example, Principle
from training.common.tasks import TASKS, WritingTask, task_choices
from training.constitution.texts import GoodText
from training.instruct.answers import SHAPES
from training.instruct.room import TOOLS, Chapter, Room, ToolError, run
from training.instruct.settings import BacktranslateSettings

WEAVERS = (
    "write", "outline", "expand", "polish", "condense", "style_transfer", "review", "brainstorm", "title", "chat",
)  # fmt: skip


def test_the_table_has_weavers_ten_tasks() -> None:
    assert tuple(TASKS) == WEAVERS
    assert [label for _, label in task_choices()][5] == "Change the style"
    assert [key for key, task in TASKS.items() if task.composes] == ["write"]
    assert {task.shape for task in TASKS.values()} == set(SHAPES)
    for task in TASKS.values():
        assert task.description.endswith(".")
        assert "\n" not in task.prompt
        assert "  " not in task.prompt


@pytest.mark.parametrize(
    "change",
    [{"key": "Rhyme"}, {"key": "x" * 21}, {"shape": "song"}, {"variants": []}, {"colour": "red"}, {"human": True}],
)
def test_a_wrong_entry_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WritingTask.model_validate(TOY.model_dump() | change)


def principle(task: str) -> Principle:
    example = Example(follows="a", follows_because="b", breaks="c", breaks_because="d")
    values = {
        "key": "k",
        "name": "K",
        "domains": ["fiction"],
        "tasks": [task],
        "explanation": "E",
        "examples": [example],
    }
    return Principle.model_validate(values)


def stage(**changes: Any) -> BacktranslateSettings:
    values = {"run_dir": "run", "data": ["x"], "teacher": {"url": "http://teacher", "model": "x"}}
    return BacktranslateSettings.model_validate(values | changes)


def test_a_new_entry_is_known_to_settings_principles_texts_and_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(title="The Pier", chapters=(Chapter(title="One", text="She came."),))
    for refused in (lambda: principle(TOY.key), lambda: stage(tasks=[TOY.key]), lambda: good_text(TOY.key)):
        with pytest.raises(ValidationError, match="write, outline"):
            refused()
    with pytest.raises(ToolError, match="task: Input should be one of write, outline"):
        run(room, "list_principles", {"task": TOY.key})

    monkeypatch.setitem(TASKS, TOY.key, TOY)
    assert stage().tasks == (*WEAVERS, TOY.key)
    assert stage(tasks=[TOY.key]).tasks == (TOY.key,)
    assert good_text(TOY.key).task == TOY.key
    with_principle = room.model_copy(update={"principles": (principle(TOY.key),)})
    assert run(with_principle, "list_principles", {"task": TOY.key}).result["number"] == 1
    parameters = TOOLS["list_principles"].schema["function"]["parameters"]
    assert parameters["properties"]["task"]["enum"] == [*WEAVERS, TOY.key]


def good_text(task: str) -> GoodText:
    return GoodText.model_validate({"text": "She came.", "task": task})
