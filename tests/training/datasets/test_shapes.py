"""Lines of data sets in the forms of other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tests.training import models
from training.common.errors import MendableError
from training.datasets.jsonl import Conversation, Preference, Text, read_jsonl
from training.datasets.requests import RequestLine

ASKED = {"role": "user", "content": "A story?"}
TOLD = {"role": "assistant", "content": "Anna saw."}
OTHER = {"role": "assistant", "content": "It was dark."}
SYSTEM = {"role": "system", "content": "Be brief."}


def read(tmp_path: Path, kind: type[BaseModel], line: dict[str, Any]) -> dict[str, Any]:
    ((_, found),) = read_jsonl([models.write_lines(tmp_path / "data.jsonl", [line])], kind)
    again = kind.model_validate(found.model_dump())
    assert again == found
    return found.model_dump(exclude_unset=True)


CONVERSATIONS: dict[str, dict[str, Any]] = {
    "messages": {"messages": [SYSTEM, ASKED, TOLD]},
    "a system message beside them": {"system": "Be brief.", "messages": [ASKED, TOLD]},
    "prompt and completion": {"prompt": [SYSTEM, ASKED], "completion": [TOLD]},
    "a prompt that the completion repeats": {"prompt": [SYSTEM, ASKED], "completion": [SYSTEM, ASKED, TOLD]},
    "texts": {"prompt": "A story?", "completion": "Anna saw.", "system": "Be brief."},
    "ShareGPT": {
        "conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "A story?"},
            {"from": "gpt", "value": "Anna saw."},
        ]
    },
    "Alpaca": {"system": "Be brief.", "instruction": "A story?", "input": "", "output": "Anna saw.", "text": "as one"},
    "parts": {"messages": [SYSTEM, ASKED | {"content": [{"type": "text", "text": "A story?"}]}, TOLD]},
    "a developer, and empty fields": {
        "messages": [SYSTEM | {"role": "developer"}, ASKED, TOLD | {"refusal": None, "annotations": []}]
    },
}


@pytest.mark.parametrize("form", CONVERSATIONS)
def test_conversations(tmp_path: Path, form: str) -> None:
    found = read(tmp_path, Conversation, CONVERSATIONS[form])
    assert found["messages"] == [SYSTEM, ASKED, TOLD]


def test_an_input_belongs_to_its_instruction(tmp_path: Path) -> None:
    line = {"instruction": "Go on.", "input": "It rained.", "output": "Anna saw."}
    assert read(tmp_path, Conversation, line)["messages"][0]["content"] == "Go on.\n\nIt rained."


def test_weights(tmp_path: Path) -> None:
    """Answers in a prompt are given, unless their weight says otherwise."""
    line = {"prompt": [ASKED, TOLD, ASKED, TOLD | {"weight": 1}, ASKED], "completion": [OTHER]}
    weights = [one.get("weight") for one in read(tmp_path, Conversation, line)["messages"]]
    assert weights == [None, 0, None, 1, None, None]
    line = {"conversations": [{"from": "human", "value": "A?"}, {"from": "gpt", "value": "B.", "weight": 0}]}
    assert read(tmp_path, Conversation, line)["messages"][1]["weight"] == 0


@pytest.mark.parametrize("name", ["reasoning_content", "thinking", "reasoning"])
def test_thinking_has_one_name(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, Conversation, {"messages": [ASKED, TOLD | {name: "A lamp."}]})
    assert found["messages"][1] == TOLD | {"reasoning_content": "A lamp."}


REQUESTS: dict[str, dict[str, Any]] = {
    "messages": {"messages": [ASKED]},
    "a prompt": {"prompt": [ASKED]},
    "a text": {"prompt": "A story?"},
    "Alpaca": {"instruction": "A story?"},
    "ShareGPT": {"conversations": [{"from": "human", "value": "A story?"}]},
}


@pytest.mark.parametrize("form", REQUESTS)
def test_requests(tmp_path: Path, form: str) -> None:
    assert read(tmp_path, RequestLine, REQUESTS[form] | {"target": 900}) == {"messages": [ASKED], "target": 900}


PREFERENCES: dict[str, dict[str, Any]] = {
    "messages": {"prompt": [ASKED], "chosen": [TOLD], "rejected": [OTHER]},
    "texts": {"prompt": "A story?", "chosen": "Anna saw.", "rejected": "It was dark."},
    "a prompt repeated": {"prompt": [ASKED], "chosen": [ASKED, TOLD], "rejected": [ASKED, OTHER]},
    "a prompt repeated as messages": {"prompt": "A story?", "chosen": [ASKED, TOLD], "rejected": [ASKED, OTHER]},
    "a prompt repeated as text": {
        "prompt": "A story?",
        "chosen": "A story? Anna saw.",
        "rejected": "A story?\nIt was dark.",
    },
    "a prompt in the answers alone": {"chosen": [ASKED, TOLD], "rejected": [ASKED, OTHER]},
    "ShareGPT": {
        "conversations": [{"from": "human", "value": "A story?"}],
        "chosen": {"from": "gpt", "value": "Anna saw."},
        "rejected": {"from": "gpt", "value": "It was dark."},
    },
}


@pytest.mark.parametrize("form", PREFERENCES)
def test_preferences(tmp_path: Path, form: str) -> None:
    found = read(tmp_path, Preference, PREFERENCES[form])
    assert found == {"prompt": [ASKED], "chosen": [TOLD], "rejected": [OTHER]}


def test_a_system_message_and_a_turn_before_a_repeated_prompt(tmp_path: Path) -> None:
    prompt = [SYSTEM, ASKED, TOLD, ASKED]
    found = read(tmp_path, Preference, {"prompt": prompt, "chosen": [ASKED, TOLD], "rejected": [ASKED, OTHER]})
    assert (found["prompt"], found["chosen"], found["rejected"]) == (prompt, [TOLD], [OTHER])


REFUSED: dict[str, tuple[type[BaseModel], dict[str, Any], str]] = {
    "a text to sft": (Conversation, {"text": "Anna."}, "messages: Field required; a conversation is .* this line has text"),
    "other names": (Conversation, {"query": "A?", "response": "B."}, "a conversation is .* has query, response"),
    "nothing": (Conversation, {}, "a conversation is .* this line has nothing"),
    "a text and messages": (Conversation, {"prompt": "A?", "completion": [TOLD]}, "prompt is a text, so completion"),
    "an unknown field": (
        Conversation,
        {"messages": [ASKED, TOLD | {"mood": "sad"}]},
        "messages.1: a message has the field mood, which is not read",
    ),
    "a function of old": (
        Conversation,
        {"messages": [ASKED, TOLD | {"function_call": {"name": "find"}}]},
        "messages.1: .*function_call",
    ),
    "an unknown field of ShareGPT": (
        Conversation,
        {"conversations": [{"from": "human", "value": "A?"}, {"from": "gpt", "value": "B.", "mood": "sad"}]},
        "messages.1: .*mood",
    ),
    "an unknown speaker": (
        Conversation,
        {"conversations": [{"from": "human", "value": "A?"}, {"from": "observation", "value": "B."}]},
        "messages.1.role",
    ),
    "half a weight": (Conversation, {"messages": [ASKED, TOLD | {"weight": 0.5}]}, "messages.1.weight: .* 0 or 1"),
    "two thoughts": (
        Conversation,
        {"messages": [ASKED, TOLD | {"thinking": "A", "reasoning": "B"}]},
        "thinking and reasoning say different things",
    ),
    "a thinking user": (Conversation, {"messages": [ASKED | {"reasoning": "A"}, TOLD]}, "only the assistant thinks"),
    "an image": (
        Conversation,
        {"messages": [ASKED | {"content": [{"type": "image"}]}, TOLD]},
        "messages.0: the content has a part of type image",
    ),
    "images": (Conversation, {"messages": [ASKED, TOLD], "images": ["a.png"]}, "the line has images"),
    "how to render": (
        Conversation,
        {"messages": [ASKED, TOLD], "chat_template_kwargs": {"enable_thinking": False}},
        "the line has chat_template_kwargs, which is not read",
    ),
    "a history": (Conversation, {"instruction": "A?", "output": "B.", "history": [["C?", "D."]]}, "has history"),
    "a pair without a prompt": (Preference, {"chosen": "A.", "rejected": "B."}, "prompt: Field required; a preference is"),
    "a pair with nothing in common": (
        Preference,
        {"chosen": [ASKED, TOLD], "rejected": [SYSTEM, OTHER]},
        "do not begin with the same messages",
    ),
    "half a pair": (Preference, {"prompt": "A?", "chosen": "B."}, "rejected: Field required; a preference is .*prompt, chosen"),
    "a prompt repeated once": (
        Preference,
        {"prompt": [ASKED], "chosen": [ASKED, TOLD], "rejected": [OTHER]},
        "only one of chosen and rejected repeats the prompt",
    ),
    "messages to pretrain": (Text, {"messages": [ASKED]}, "text: Field required; a text for pretraining is .* has messages"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_said_with_its_line(tmp_path: Path, case: str) -> None:
    kind, line, says = REFUSED[case]
    with pytest.raises(MendableError, match=f"data.jsonl, line 1 is not a .*{says}"):
        read(tmp_path, kind, line)
