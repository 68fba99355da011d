"""Requests that a model writes stories to: the prompt, the length that is asked for, and the human story that answers it, if there is one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, model_validator

from training.common.answers import thinking_prompt
from training.common.errors import MendableError
from training.common.lengths import length_asked
from training.common.records import Sample
from training.common.text import Message
from training.datasets.encoding import ChatEncoder, errors_located_at
from training.datasets.jsonl import ChatMessage, Dialogue, read_jsonl

_OPENED = re.compile(r"<think>\s*(?:</think>\s*)?\Z")
_LAST = 64
"""Tokens at the end of a prompt, among which are those that open the thinking."""


class RequestLine(Dialogue):
    """A line of the data: messages, the last of which is a request or the human answer to it."""

    target: int | None = Field(None, ge=0, le=1_000_000)
    """Words asked for; 0 counts as none."""
    thinking: str = ""
    """The thinking that leads to the human answer, for a model that thinks first."""

    @model_validator(mode="after")
    def asks_for_something(self) -> RequestLine:
        if not any(message.role == "user" for message in self.messages):
            raise ValueError("no message asks for anything")
        return self


@dataclass(frozen=True, eq=False)
class Request:
    """A request as the policy reads it."""

    prompt: tuple[Message, ...]
    tokens: tuple[int, ...]
    """The prompt's, up to where the answer begins."""
    target: int | None
    """Words asked for."""
    human: Sample | None
    """Prompt and human answer; the answer's tokens have weight 1."""
    human_answer: str
    """In the form of the policy's answers, with thinking and tags."""
    begun: str = ""
    """What the chat template writes of the answer: "<think>\\n" where it opens the thinking, with "</think>" where it closes it too."""
    thinks: bool = True
    """Whether the answer may begin with thinking."""


def read_requests(
    paths: Iterable[Path], encoder: ChatEncoder, *, thinking: str, room: int, needs_target: str = ""
) -> list[Request]:
    """Read the requests of JSON Lines files.

    `thinking` is the setting of the same name; `room` is the context in tokens. A human answer that does not fit is cut, as in POLARIS.
    `needs_target` names a reward without a value for requests that name no length.
    Raises MendableError for a line that is wrong, for a request that leaves no room for an answer, and for one without a length that needs one.
    """
    found = []
    for where, line in read_jsonl(paths, RequestLine):
        with errors_located_at(where):
            request = _request(line, encoder, thinking, room)
            if needs_target and request.target is None:
                raise MendableError(
                    f"The request names no length, and the reward {needs_target} has no value without one: write it into the request, such as "
                    f'"about 900 words", or beside it as "target": 900, or take {needs_target} out of `rewards.weights`.'
                )
            found.append(request)
    return found


def _request(line: RequestLine, encoder: ChatEncoder, thinking: str, room: int) -> Request:
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
    if answered and line.messages[-1].weight != 0:
        told = line.messages[-1]
        if not encoder.learnable(told):
            raise MendableError("nothing to learn: the human answer has no text.")
        thought, text = told.parts
        text = told.content if thought is None else text.lstrip()
        answer = _as_policy(text, line.thinking or thought or "", thinking)
        human = encoder.encode([*asked, ChatMessage(role="assistant", content=answer)], only_last=True)
        if len(human) > room:
            human = Sample(human.tokens[:room], human.weights[:room])
    opened = _OPENED.search(
        encoder.tokenizer.decode(tokens[-_LAST:], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )
    begun = opened[0] if opened else ""
    thinks = thinking != "direct" and "</think>" not in begun
    return Request(prompt, tuple(tokens), line.target or _target(prompt), human, answer, begun, thinks)


def _as_policy(text: str, trace: str, thinking: str) -> str:
    """The human answer in the form of the policy's answers: thinking comes first where there is some."""
    body = text if thinking == "none" else f"<answer>\n{text}\n</answer>"
    return f"<think>\n{trace.strip()}\n</think>\n{body}" if trace.strip() and thinking != "direct" else body


def _target(prompt: Iterable[Message]) -> int | None:
    found = length_asked(message["content"] for message in prompt if message["role"] == "user")
    return found.target or None if found else None
