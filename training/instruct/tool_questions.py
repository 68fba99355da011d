"""What a teacher is asked about calls of tools, and the shape of its answers."""

from __future__ import annotations

import json

from pydantic import BaseModel, ConfigDict, Field

from training.common.text import Message
from training.instruct.room import TOOLS, said
from training.instruct.situations import Situation
from training.teacher.fences import fenced


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Words(_Answer):
    """What the user says."""

    user: str = Field(min_length=1, max_length=1000)


class Reply(_Answer):
    """What the assistant says in the end, and whether what the user wanted was done."""

    done: bool
    answer: str = Field(min_length=1, max_length=6000)


class Talk(_Answer):
    """Both, where no tool is called."""

    user: str = Field(min_length=1, max_length=1000)
    answer: str = Field(min_length=1, max_length=6000)


def words(situation: Situation) -> list[Message]:
    calls = "; then, after the first answer, ".join(
        f"`{one.call.tool}` with {json.dumps(one.call.arguments, ensure_ascii=False)}" for one in situation.done
    )
    described = "\n".join(
        f"{name}: {TOOLS[name].schema['function']['description']}"
        for name in dict.fromkeys(one.call.tool for one in situation.done)
    )
    return _asked(
        "A writer sits in a writing room with an assistant that can call tools on the story that is open. Below is what the assistant rightly "
        "calls. Write in `user` the message of the writer that leads to just this, and to no more.",
        f"The tools:\n{described}\n\nThe assistant calls {calls}.",
        "The writer speaks of the story and of what is wanted, as people do, in one to three sentences; never of tools, calls or arguments, and "
        "never by their names. Whatever the assistant could not know otherwise has to be said: numbers of chapters and of words, names, and words "
        "that are looked for, exactly as they stand in the arguments. What only a first answer tells is not said. Write in the language of the "
        "story.",
        {"THE STORY": _beginning(situation)},
    )


def reply(situation: Situation, user: str) -> list[Message]:
    texts = {"THE WRITER": user}
    for number, one in enumerate(situation.done, 1):
        texts |= {f"CALL {number}": f"{one.call.tool} {json.dumps(one.call.arguments, ensure_ascii=False)}"}
        texts |= {f"ANSWER {number}": said(one.answer)}
    return _asked(
        "You are the assistant of a writing room. A writer asked you for something; you called tools and have their answers. Now answer the writer.",
        "",
        "Put into `answer` what you say to the writer: what was asked for and what bears on it, in a few sentences, in the writer's language. Use only "
        "what the tools' answers say; give each figure exactly as it stands there, and no figure that does not. A long text need not be repeated. If a "
        "tool could not do it, say so plainly, say why, and promise nothing. Do not speak of tools or calls. `done` says whether what the writer "
        "wanted was done.",
        texts,
    )


def talk(situation: Situation) -> list[Message]:
    described = "\n".join(f"{name}: {TOOLS[name].schema['function']['description']}" for name in situation.shown)
    return _asked(
        "A writer sits in a writing room with an assistant. Make one exchange between them in which the assistant needs none of its tools, because what "
        "the writer wants does not hang on the story that is open.",
        f"The tools, which are not called:\n{described}\n\nWhat it is about: {situation.topic}.",
        "`user`: what the writer says, in one to three sentences. `answer`: what the assistant answers at once, to the point, with no claim about what stands "
        "in the story, and without a word about tools.",
        {"THE STORY": _beginning(situation)},
    )


def _asked(what: str, shown: str, question: str, texts: dict[str, str]) -> list[Message]:
    parts = [what, shown, question, fenced(texts)]
    return [{"role": "user", "content": "\n\n".join(part for part in parts if part)}]


def _beginning(situation: Situation) -> str:
    room = situation.room
    return f"{room.title}, {len(room.chapters)} chapters so far. It begins:\n{room.chapters[0].text[:400]}"
