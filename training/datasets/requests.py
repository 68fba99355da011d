"""What a group is about: a request, the length it asks for, and the human story that answers it, if there is one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field, model_validator

from training.common.answers import thinking_prompt
from training.common.errors import MendableError
from training.common.records import Sample
from training.common.text import Message, words_asked
from training.datasets.encoding import ChatEncoder, errors_located_at
from training.datasets.jsonl import ChatMessage, Messages, read_jsonl


class Request(BaseModel):
    """A line of the data: messages of which the last is a request, or the human answer to it."""

    messages: Messages
    target: int | None = Field(None, ge=0, le=1_000_000)
    """Words asked for; 0 as none."""
    thinking: str = ""
    """What leads to the human answer, for a model that thinks first."""

    @model_validator(mode="after")
    def asks_for_something(self) -> Request:
        if not any(message.role == "user" for message in self.messages):
            raise ValueError("no message asks for anything")
        return self


@dataclass(frozen=True, eq=False)
class Task:
    prompt: tuple[Message, ...]
    tokens: tuple[int, ...]
    """Of the prompt, up to where the answer begins."""
    target: int | None
    """Words asked for."""
    human: Sample | None
    """Prompt and human answer; the answer's tokens have weight 1."""
    human_answer: str
    """In the form that the policy's have, thinking and tags included."""


def read_tasks(paths: Iterable[Path], encoder: ChatEncoder, *, thinking: str, room: int) -> list[Task]:
    """The requests of the files. `room` is the context in tokens: a longer human answer is cut, as in POLARIS (recipes.md 1.6)."""
    found = []
    for where, line in read_jsonl(paths, Request):
        with errors_located_at(where):
            found.append(_task(line, encoder, thinking, room))
    return found


def _task(line: Request, encoder: ChatEncoder, thinking: str, room: int) -> Task:
    answered = line.messages[-1].role == "assistant"
    asked = list(line.messages[:-1] if answered else line.messages)
    if thinking != "none":
        asked = [*map(ChatMessage.model_validate, thinking_prompt([], think=thinking == "think")), *asked]
    prompt = tuple(Message(role=one.role, content=one.content) for one in asked)  # type: ignore[typeddict-item]
    tokens = encoder.encode_prompt(asked)
    if len(tokens) >= room - 1:
        raise MendableError(
            f"The request has {len(tokens):,} tokens, and the context is {room:,}: there is no room for an answer."
        )
    human, answer = None, ""
    if answered:
        answer = _as_written(line.messages[-1].content, line.thinking, thinking)
        human = encoder.encode([*asked, ChatMessage(role="assistant", content=answer)], only_last=True)
        if len(human) > room:
            human = Sample(human.tokens[:room], human.weights[:room])
    return Task(prompt, tuple(tokens), line.target or _target(prompt), human, answer)


def _as_written(text: str, trace: str, thinking: str) -> str:
    """The human answer in the form that the policy's have (recipes.md 1.6): thinking before it where there is one."""
    body = text if thinking == "none" else f"<answer>\n{text}\n</answer>"
    return f"<think>\n{trace.strip()}\n</think>\n{body}" if trace.strip() and thinking != "direct" else body


def _target(prompt: Iterable[Message]) -> int | None:
    found = [words_asked(message["content"]) for message in prompt if message["role"] == "user"]
    return next((words for words in reversed(found) if words), None)
