"""The checks that a conversation with tools must pass. Rejected rows are counted by reason:

no_answer         the teacher gave no answer, or none of the shape that was asked for
names_a_tool      somebody mentions a tool by its name
not_said          the user does not say something that the assistant could not know otherwise
not_honest        a failed call is reported as done, or a successful one as not done
invented          the answer has a number that is neither in a tool's result nor in the user's message
copy              the user of another row says the same
call              a call is not to one of the tools offered, or its arguments are not valid
result            the tool, run again in the room, returns another result
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import regex
from pydantic import ValidationError

from training.datasets.jsonl import Conversation
from training.datasets.rejected import Rejected
from training.instruct.room import TOOLS, Room, ToolError, run, tool_message
from training.instruct.situations import CallResult


class Reason(StrEnum):
    NO_ANSWER = "no_answer"
    NAMES_A_TOOL = "names_a_tool"
    NOT_SAID = "not_said"
    NOT_HONEST = "not_honest"
    INVENTED = "invented"
    COPY = "copy"
    CALL = "call"
    RESULT = "result"


_CARDINALS = "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty"
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
CARDINALS = {word: number for number, word in enumerate(_CARDINALS.split(), 2)}
ORDINALS = {word: number for number, word in enumerate(_ORDINALS.split(), 1)}
_NUMBER = regex.compile(r"\d+(?:[,.\u00a0\u202f]\d{3})*(?![\d])(?:\.\d+)?")
_LIST_NUMBER = regex.compile(r"^\s*\d{1,2}[.)]\s", regex.MULTILINE)


def check_row(row: Mapping[str, Any], room: Room) -> None:
    """Run the calls of a row again, one after the other, in the room that it was made in. Raises Rejected."""
    try:
        conversation = Conversation.model_validate(row)
    except ValidationError as error:
        raise Rejected(Reason.CALL, f"it is not a conversation: {error}"[:300]) from None
    offered = {one.function.name: one.model_dump() for one in conversation.tools or ()}
    waiting: dict[str | None, str] = {}
    for message in conversation.messages:
        for call in message.tool_calls or ():
            name = call.function.name
            if name not in TOOLS or offered.get(name) != TOOLS[name].schema:
                raise Rejected(Reason.CALL, f"it calls {name[:50]}, which is not offered")
            waiting[call.id], room = _result(room, name, call.function.arguments)
        if message.role == "tool" and waiting.pop(message.tool_call_id, None) != message.content:
            raise Rejected(Reason.RESULT, "a tool returns another result than the row has")
    if waiting or conversation.messages[-1].tool_calls:
        raise Rejected(Reason.RESULT, "a call has no result")


def _result(room: Room, name: str, arguments: Mapping[str, Any]) -> tuple[str, Room]:
    """The message of the tool and the room after it. Raises Rejected for invalid arguments; an error of the tool is a result."""
    text = json.dumps(arguments)
    try:
        TOOLS[name].arguments.model_validate_json(text)
    except ValueError as error:
        raise Rejected(Reason.CALL, f"the arguments are not those of {name}: {error}"[:300]) from None
    try:
        outcome = run(room, name, text)
    except ToolError as error:
        return tool_message({"error": str(error)}), room
    return tool_message(outcome.result), outcome.room


def check_no_tool_named(*texts: str) -> None:
    """Raises Rejected."""
    for text in texts:
        if named := next((name for name in TOOLS if name in text), ""):
            raise Rejected(Reason.NAMES_A_TOOL, f"{named} is mentioned")


def check_user(user: str, calls: Sequence[CallResult]) -> None:
    """Check that the user says each name, word and number of the calls that no earlier result contains. Raises Rejected."""
    known = user
    for one in calls:
        for name, value in one.call.arguments.items():
            if name != "task" and not _mentions(known, value):  # a task is described, not named
                raise Rejected(Reason.NOT_SAID, f"the user does not say {value!r} ({name})")
        known += "\n" + tool_message(one.result)


def check_honest(calls: Sequence[CallResult], says_done: bool) -> None:
    """Check that the answer says whether the request was carried out. Raises Rejected."""
    failed = any("error" in one.result for one in calls)
    if says_done == failed:
        why = "a failed call is reported as done" if failed else "a successful call is reported as not done"
        raise Rejected(Reason.NOT_HONEST, why)


def check_numbers(answer: str, user: str, calls: Sequence[CallResult]) -> None:
    """Check that the answer has no number but those of the user, of the results, and of their lengths. Raises Rejected."""
    known = {*_numbers(user), *(number for one in calls for number in _numbers_in(one.result))}
    if unknown := sorted(_numbers(_LIST_NUMBER.sub("", answer)) - known):
        raise Rejected(Reason.INVENTED, f"no tool says {unknown[0]}")


def _numbers_in(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        value = list(value.values())
    elif isinstance(value, list):
        yield str(len(value))
    if isinstance(value, list):
        for one in value:
            yield from _numbers_in(one)
    else:
        yield from _numbers(str(value))


def _numbers(text: str) -> set[str]:
    """Numbers in digits, without thousands separators, and number words from two to twenty, as digits."""
    digits = {regex.sub(r"[,.\u00a0\u202f](?=\d{3}(?!\d))", "", found) for found in _NUMBER.findall(text)}
    words = {str(CARDINALS[word]) for word in regex.findall(r"\p{L}+", text.lower()) if word in CARDINALS}
    return digits | words


def _mentions(text: str, value: Any) -> bool:
    if not isinstance(value, int):
        return str(value).casefold() in text.casefold()
    words = regex.findall(r"\p{L}+", text.lower())
    ordinals = {ORDINALS[word] for word in words if word in ORDINALS} | ({1} if "one" in words else set())
    return value in ordinals or str(value) in _numbers(text)
