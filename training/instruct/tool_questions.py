"""The questions that a teacher is asked about tool calls, and the shapes of its answers."""

from __future__ import annotations

import json

from pydantic import BaseModel, ConfigDict, Field

from training.common.text import Message
from training.instruct.room import TOOLS, tool_message
from training.instruct.situations import Situation
from training.teacher.fences import fenced


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class UserMessage(_Answer):
    """The user's message before the calls."""

    user: str = Field(min_length=1, max_length=1000)


class Reply(_Answer):
    """The assistant's answer after the calls, and whether the request was carried out."""

    done: bool
    answer: str = Field(min_length=1, max_length=6000)


class Exchange(_Answer):
    """Both messages of a conversation without calls."""

    user: str = Field(min_length=1, max_length=1000)
    answer: str = Field(min_length=1, max_length=6000)


def user_message(situation: Situation) -> list[Message]:
    """Ask for the user's message that leads to the calls of the situation."""
    calls = "; then, after the first result, ".join(
        f"`{one.call.tool}` with {json.dumps(one.call.arguments, ensure_ascii=False)}" for one in situation.calls
    )
    described = "\n".join(_described(name) for name in dict.fromkeys(one.call.tool for one in situation.calls))
    return _asked(
        "A writer works in a writing room with an assistant that can call tools on the open story. Below is what the assistant correctly "
        "calls. Write in `user` the writer's message that leads to exactly these calls and no others.",
        f"The tools:\n{described}\n\nThe assistant calls {calls}.",
        "The writer says in one to three natural sentences what is wanted for the story, and never mentions tools, calls, arguments or their "
        "names. Say everything that the assistant could not know otherwise: numbers of chapters and of words, names, and search words, exactly as they "
        "are in the arguments. Do not say what only the first result contains. Write in the language of the story.",
        {"THE STORY": _beginning(situation)},
    )


def reply(situation: Situation, user: str) -> list[Message]:
    """Ask for the assistant's answer after the calls."""
    texts = {"THE WRITER": user}
    for number, one in enumerate(situation.calls, 1):
        texts |= {f"CALL {number}": f"{one.call.tool} {json.dumps(one.call.arguments, ensure_ascii=False)}"}
        texts |= {f"RESULT {number}": tool_message(one.result)}
    return _asked(
        "You are the assistant of a writing room. A writer asked for something; you called tools and have their results. Now answer the writer.",
        "",
        "Write in `answer` what you say to the writer: what was asked for and anything relevant to it, in a few sentences, in the writer's language. "
        "Use only the tools' results. Give each number exactly as it is there, and no other number. You need not repeat a long text. If a tool failed, "
        "say so plainly, say why, and promise nothing. Do not mention tools or calls. `done` says whether the writer's request was carried out.",
        texts,
    )


def exchange(situation: Situation) -> list[Message]:
    """Ask for both messages of a conversation that needs no tool."""
    described = "\n".join(_described(name) for name in situation.offered)
    return _asked(
        "A writer works in a writing room with an assistant. Write one exchange between them in which the assistant needs none of its tools, because "
        "the writer's question does not depend on the open story.",
        f"The tools, which are not called:\n{described}\n\nThe topic: {situation.topic}.",
        "`user`: what the writer says, in one to three sentences. `answer`: the assistant's direct answer, to the point, with no claim about what the "
        "story contains, and without mentioning tools.",
        {"THE STORY": _beginning(situation)},
    )


def _described(name: str) -> str:
    return f"{name}: {TOOLS[name].schema['function']['description']}"


def _asked(introduction: str, facts: str, question: str, texts: dict[str, str]) -> list[Message]:
    parts = [introduction, facts, question, fenced(texts)]
    return [{"role": "user", "content": "\n\n".join(part for part in parts if part)}]


def _beginning(situation: Situation) -> str:
    room = situation.room
    return f"{room.title}, {len(room.chapters)} chapters so far. It begins:\n{room.chapters[0].text[:400]}"
