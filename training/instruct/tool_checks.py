"""What a conversation with tools must pass; each reason of a drop has a name that is counted.

no_answer         the teacher gave none, or none of the shape that was asked for
names_a_tool      somebody speaks of a tool by its name
not_said          the user does not say what the assistant could not know otherwise
not_honest        what was refused is said to be done, or what was done is said not to be
invented          the answer has a figure that stands neither in a tool's answer nor in the user's words
copy              another row's user says the same
call              a call is none of a tool that is shown, or its arguments are not the tool's
result            the tool, run again in the room, answers otherwise
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import regex
from pydantic import ValidationError

from training.datasets.jsonl import Conversation
from training.datasets.rejected import Dropped
from training.instruct.room import TOOLS, Refused, Room, run, said
from training.instruct.situations import Done


class Drop(StrEnum):
    NO_ANSWER = "no_answer"
    NAMES_A_TOOL = "names_a_tool"
    NOT_SAID = "not_said"
    NOT_HONEST = "not_honest"
    INVENTED = "invented"
    COPY = "copy"
    CALL = "call"
    RESULT = "result"


_COUNTED = "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty"
_ORDERED = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
NUMBERS = {word: number for number, word in enumerate(_COUNTED.split(), 2)}
ORDINALS = {word: number for number, word in enumerate(_ORDERED.split(), 1)}
_FIGURE = regex.compile(r"\d+(?:[,.\u00a0\u202f]\d{3})*(?![\d])(?:\.\d+)?")
_ITEM = regex.compile(r"^\s*\d{1,2}[.)]\s", regex.MULTILINE)


def check_row(row: Mapping[str, Any], room: Room) -> None:
    """Runs the calls of a row again, one after the other, in the room that it was made in. Raises Dropped."""
    try:
        talk = Conversation.model_validate(row)
    except ValidationError as error:
        raise Dropped(Drop.CALL, f"it is no conversation: {error}"[:300]) from None
    shown = {one.function.name: one.model_dump() for one in talk.tools or ()}
    waiting: dict[str | None, str] = {}
    for message in talk.messages:
        for call in message.tool_calls or ():
            name = call.function.name
            if name not in TOOLS or shown.get(name) != TOOLS[name].schema:
                raise Dropped(Drop.CALL, f"it calls {name[:50]}, which it is not shown")
            waiting[call.id], room = _answer(room, name, call.function.arguments)
        if message.role == "tool" and waiting.pop(message.tool_call_id, None) != message.content:
            raise Dropped(Drop.RESULT, "a tool answers otherwise than the row says")
    if waiting or talk.messages[-1].tool_calls:
        raise Dropped(Drop.RESULT, "a call has no answer")


def _answer(room: Room, name: str, arguments: Mapping[str, Any]) -> tuple[str, Room]:
    """Arguments that are not the tool's own are a fault of the row; what the tool then cannot do is an answer."""
    text = json.dumps(arguments)
    try:
        TOOLS[name].arguments.model_validate_json(text)
    except ValueError as error:
        raise Dropped(Drop.CALL, f"the arguments are not those of {name}: {error}"[:300]) from None
    try:
        outcome = run(room, name, text)
    except Refused as refused:
        return said({"error": str(refused)}), room
    return said(outcome.answer), outcome.room


def no_tool_named(*texts: str) -> None:
    """Raises Dropped."""
    for text in texts:
        if named := next((name for name in TOOLS if name in text), ""):
            raise Dropped(Drop.NAMES_A_TOOL, f"{named} is spoken of")


def all_said(user: str, done: Sequence[Done]) -> None:
    """The user says each name, word and number of the calls that no earlier answer tells. Raises Dropped."""
    told = user
    for one in done:
        for name, value in one.call.arguments.items():
            if name != "task" and not _stands(value, told):  # a task is meant, not quoted
                raise Dropped(Drop.NOT_SAID, f"the user does not say {value!r} ({name})")
        told += "\n" + said(one.answer)


def honest(done: Sequence[Done], says_done: bool) -> None:
    """Raises Dropped."""
    refused = any("error" in one.answer for one in done)
    if says_done == refused:
        raise Dropped(
            Drop.NOT_HONEST, "what a tool refused is called done" if refused else "what was done is called undone"
        )


def nothing_invented(answer: str, user: str, done: Sequence[Done]) -> None:
    """Raises Dropped. How many there are of something that a tool lists is no invention."""
    known = {*_figures(user), *(figure for one in done for figure in _known(one.answer))}
    if strange := sorted(_figures(_ITEM.sub("", answer)) - known):
        raise Dropped(Drop.INVENTED, f"no tool says {strange[0]}")


def _known(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        value = list(value.values())
    elif isinstance(value, list):
        yield str(len(value))
    if isinstance(value, list):
        for one in value:
            yield from _known(one)
    else:
        yield from _figures(str(value))


def _figures(text: str) -> set[str]:
    """Numbers in digits, without what parts thousands, and in words from two to twenty."""
    digits = {regex.sub(r"[,.\u00a0\u202f](?=\d{3}(?!\d))", "", found) for found in _FIGURE.findall(text)}
    words = {str(NUMBERS[word]) for word in regex.findall(r"\p{L}+", text.lower()) if word in NUMBERS}
    return digits | words


def _stands(value: Any, text: str) -> bool:
    if not isinstance(value, int):
        return str(value).casefold() in text.casefold()
    words = regex.findall(r"\p{L}+", text.lower())
    counted = {ORDINALS[word] for word in words if word in ORDINALS} | ({1} if "one" in words else set())
    return value in counted or str(value) in _figures(text)
