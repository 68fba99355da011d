"""Lines of training data: conversations, preferences and plain texts in JSON Lines files. No torch is imported here.

A conversation is `{"messages": [...]}` or `{"prompt": [...], "completion": [...]}`, a preference `{"prompt": [...], "chosen": [...],
"rejected": [...]}`, in the words of TRL, and a plain text `{"text": "..."}`. A preference may also have `label` (the probability
that the chosen one is the better, from 0.5 to 1), `strength` (0 a tie, 1 better, 2 much better), `margin` (in log-odds), and
`principles`, those that the rejected text breaks.

Where the assistant calls tools, its message has `tool_calls`, a message of role `tool` the answer, and the line `tools`, the schemas of
those that there are: as OpenAI writes them, with the arguments as an object (as TRL has it) or as the text of one.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from training.common.errors import MendableError

MOST_BYTES = 64 * 2**20
"""Of one line: fifty novels."""


class _Written(BaseModel):
    """What is not there is not written either: a template may ask only whether a message has `tool_calls`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_serializer(mode="wrap")
    def without_what_is_not_there(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if value is not None}


class Called(_Written):
    """A tool with its arguments."""

    name: str = Field(min_length=1)
    arguments: dict[str, Any] = Field(default_factory=dict)

    @field_validator("arguments", mode="before")
    @classmethod
    def of_a_text(cls, arguments: Any) -> Any:
        if isinstance(arguments, str):
            try:
                return json.loads(arguments or "{}")
            except (ValueError, RecursionError):
                raise ValueError("the arguments of a call are no JSON") from None
        return arguments


class ToolCall(_Written):
    type: Literal["function"] = "function"
    id: str | None = None
    function: Called


class Said(_Written):
    """One message. What calls tools may say nothing else."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    """Of the tool that answers; some templates show it."""

    @model_validator(mode="before")
    @classmethod
    def may_only_call(cls, said: Any) -> Any:
        if not isinstance(said, dict):
            return said
        if said.get("role") != "tool":
            said = {name: value for name, value in said.items() if name not in ("name", "tool_call_id")}
        if not said.get("tool_calls"):
            return {name: value for name, value in said.items() if name != "tool_calls"}
        return said if said.get("content") is not None else said | {"content": ""}

    @model_validator(mode="after")
    def the_assistant_calls(self) -> Said:
        if self.tool_calls and self.role != "assistant":
            raise ValueError("only the assistant calls tools")
        return self


class _Function(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field(min_length=1)


class ToolSchema(BaseModel):
    """A tool as a model is told of it; what else is said of it goes to the chat template as it is."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: Literal["function"] = "function"
    function: _Function


Tools = tuple[ToolSchema, ...]
Messages = Annotated[list[Said], Field(min_length=1)]


class Text(BaseModel):
    """A line to go on pretraining on."""

    text: str = Field(min_length=1)


class Turns(BaseModel):
    """Messages that somebody has answered, or not yet."""

    messages: Messages
    tools: Tools | None = None

    @model_validator(mode="before")
    @classmethod
    def of_two_parts(cls, line: Any) -> Any:
        if isinstance(line, dict) and "messages" not in line and isinstance(line.get("prompt"), list):
            completion = line.get("completion", [])
            if not isinstance(completion, list):
                raise ValueError("prompt is a list of messages, so completion must be one as well")
            kept = {name: value for name, value in line.items() if name not in ("prompt", "completion")}
            return kept | {"messages": [*line["prompt"], *completion]}
        return line


class Conversation(Turns):
    """A line to fine-tune on: what the assistant says in it is learned."""

    @model_validator(mode="after")
    def ends_with_an_answer(self) -> Conversation:
        if self.messages[-1].role != "assistant":
            raise ValueError("the last message is not the assistant's")
        return self


class Preference(BaseModel):
    """A line to learn what is better from."""

    prompt: Messages
    chosen: Messages
    rejected: Messages
    tools: Tools | None = None
    label: float = Field(1.0, ge=0.5, le=1.0)
    strength: int = Field(1, ge=0, le=9)
    margin: float = Field(0.0, allow_inf_nan=False)
    principles: list[tuple[str, int]] = []
    """Those that the rejected text breaks, in which version of each."""

    @model_validator(mode="after")
    def both_are_answers(self) -> Preference:
        if any(side[-1].role != "assistant" for side in (self.chosen, self.rejected)):
            raise ValueError("the last message of chosen and rejected is not the assistant's")
        return self


Line = TypeVar("Line", bound=BaseModel)


def read_lines(paths: Iterable[Path], kind: type[Line]) -> Iterator[tuple[str, Line]]:
    """Each line of the files with its place, as in `data/pairs.jsonl, line 7`."""
    for path in paths:
        number = 0
        try:
            with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
                while raw := file.readline(MOST_BYTES + 1):
                    number += 1
                    raw = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw  # some editors begin a file so
                    if len(raw) > MOST_BYTES:
                        raise MendableError(
                            f"{path}, line {number} is longer than {MOST_BYTES // 2**20} MB: each example is a line."
                        )
                    if raw.strip():
                        yield f"{path}, line {number}", kind.model_validate_json(raw)
        except FileNotFoundError:
            raise MendableError(
                f"The data file {path} is not there: mend `data` or `held_out` in the settings."
            ) from None
        except (OSError, EOFError, zlib.error) as error:
            raise MendableError(
                f"The data file {path} cannot be read after line {number}: {str(error).rstrip('.')}."
            ) from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            raise MendableError(
                f"{path}, line {number} is not {_named(kind)}: {where}: {first['msg'].removeprefix('Value error, ')}."
            ) from None


def _named(kind: type[BaseModel]) -> str:
    return f"a {re.sub('(?<=[a-z])(?=[A-Z])', ' ', kind.__name__).lower()}"
