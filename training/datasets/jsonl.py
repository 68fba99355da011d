"""Training data in JSON Lines files: conversations, preferences and plain texts. Does not import torch.

A conversation is `{"messages": [...]}` or `{"prompt": [...], "completion": [...]}`, a preference `{"prompt": [...], "chosen": [...],
"rejected": [...]}`, as in TRL, and a plain text `{"text": "..."}`; the forms of other libraries are read too (`training.datasets.shapes`). A
preference may also have `label` (the probability that the chosen text is better, from 0.5 to 1), `strength` (0 a tie, 1 better, 2 much better),
`margin` (in log-odds), and `principles` (those that the rejected text breaks).

A message of the assistant may have `reasoning_content`, its thinking, which may also begin its text between <think> and </think>; and `weight` 0,
with which it is not learned.

Where the assistant calls tools, its message has `tool_calls`, a message of role `tool` has the answer, and `tools` has the schemas of all
tools, in OpenAI's format; arguments are an object (as in TRL) or a JSON string.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

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
from training.datasets import shapes

THINK, THOUGHT = "<think>", "</think>"
THINKING_FIELDS = ("reasoning_content", "thinking", "reasoning")
"""Names of an answer's thinking in chat templates and in data."""
_TAGGED = re.compile(rf"\s*{THINK}(.*?){THOUGHT}(.*)", re.DOTALL)
MOST_BYTES = 64 * 2**20
"""The most bytes of one line, about fifty novels."""


class _WithoutNone(BaseModel):
    """Leaves out fields that are None, because a template may test only whether a message has `tool_calls`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_serializer(mode="wrap")
    def leave_out_none(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if value is not None}


class FunctionCall(_WithoutNone):
    """The name of a tool, and its arguments."""

    name: str = Field(min_length=1)
    arguments: dict[str, Any] = Field(default_factory=dict)

    @field_validator("arguments", mode="before")
    @classmethod
    def parse_json(cls, arguments: Any) -> Any:
        if isinstance(arguments, str):
            try:
                return json.loads(arguments or "{}")
            except (ValueError, RecursionError):
                raise ValueError("the arguments of a tool call are not JSON") from None
        return arguments


class ToolCall(_WithoutNone):
    type: Literal["function"] = "function"
    id: str | None = None
    function: FunctionCall


class ChatMessage(_WithoutNone):
    """A message of a conversation. One with tool calls may have no text."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    reasoning_content: str | None = None
    """The thinking before an answer."""
    weight: Literal[0, 1] | None = None
    """0 for an answer that is not learned."""
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    """The tool that answers, which some templates show."""

    @model_validator(mode="before")
    @classmethod
    def read_fields(cls, message: Any) -> Any:
        return shapes.message(message, cls.model_fields, THINKING_FIELDS) if isinstance(message, dict) else message

    @property
    def parts(self) -> tuple[str | None, str]:
        """The thinking before an answer, None without any, and its text, with the white space between the tags and them."""
        if self.role == "assistant" and self.reasoning_content:
            return f"\n{self.reasoning_content.strip()}\n", f"\n\n{self.content}"
        found = _TAGGED.fullmatch(self.content) if self.role == "assistant" else None
        return (found[1], found[2]) if found else (None, self.content)

    @model_validator(mode="after")
    def only_the_assistant_calls(self) -> ChatMessage:
        if self.tool_calls and self.role != "assistant":
            raise ValueError("only the assistant calls tools")
        if self.role != "assistant" and self.reasoning_content:
            raise ValueError("only the assistant thinks")
        return self


class _Function(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field(min_length=1)


class ToolSchema(BaseModel):
    """The schema of a tool; fields that are not named here go to the chat template as they are."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: Literal["function"] = "function"
    function: _Function


Tools = tuple[ToolSchema, ...]
Messages = Annotated[list[ChatMessage], Field(min_length=1)]


class Text(BaseModel):
    """A line for pretraining."""

    text: str = Field(min_length=1)

    wanted: ClassVar[str] = 'a text for pretraining is {"text": "..."}'


class Dialogue(BaseModel):
    """Messages that end with an answer or with a request."""

    messages: Messages
    tools: Tools | None = None

    wanted: ClassVar[str] = (
        "a conversation is messages; prompt and completion; conversations with from and value; or instruction, input and output"
    )

    @model_validator(mode="before")
    @classmethod
    def read_shape(cls, line: Any) -> Any:
        return shapes.dialogue(line)


class Conversation(Dialogue):
    """A line for fine-tuning, on the assistant's messages."""

    @model_validator(mode="after")
    def ends_with_an_answer(self) -> Conversation:
        if self.messages[-1].role != "assistant":
            raise ValueError("the last message is not the assistant's")
        return self


class Preference(BaseModel):
    """A line for preference training."""

    prompt: Messages
    chosen: Messages
    rejected: Messages
    tools: Tools | None = None
    label: float = Field(1.0, ge=0.5, le=1.0)
    strength: int = Field(1, ge=0, le=9)
    margin: float = Field(0.0, allow_inf_nan=False)
    principles: list[tuple[str, int]] = []
    """Key and version of each principle that the rejected text breaks."""

    wanted: ClassVar[str] = "a preference is prompt, chosen and rejected, each a text or a list of messages"

    @model_validator(mode="before")
    @classmethod
    def read_shape(cls, line: Any) -> Any:
        return shapes.preference(line)

    @model_validator(mode="after")
    def both_end_with_answers(self) -> Preference:
        if any(side[-1].role != "assistant" for side in (self.chosen, self.rejected)):
            raise ValueError("the last message of chosen and rejected is not the assistant's")
        return self


Line = TypeVar("Line", bound=BaseModel)


def read_jsonl(paths: Iterable[Path], kind: type[Line]) -> Iterator[tuple[str, Line]]:
    """Yield each line of the files with its place, such as `data/pairs.jsonl, line 7`. Raises MendableError, naming the place."""
    for path in paths:
        number = 0
        try:
            with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
                while raw := file.readline(MOST_BYTES + 1):
                    number += 1
                    raw = (
                        raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
                    )  # the byte order mark of some editors
                    if len(raw) > MOST_BYTES:
                        raise MendableError(
                            f"{path}, line {number} is longer than {MOST_BYTES // 2**20} MB: put each example on a line of its own."
                        )
                    if raw.strip():
                        yield f"{path}, line {number}", kind.model_validate_json(raw)
        except FileNotFoundError:
            raise MendableError(
                f"The data file {path} does not exist: correct `data` or `held_out` in the settings."
            ) from None
        except (OSError, EOFError, zlib.error) as error:
            raise MendableError(
                f"The data file {path} cannot be read after line {number}: {str(error).rstrip('.')}."
            ) from None
        except ValidationError as error:
            errors = error.errors()
            first = next((one for one in errors if one["type"] == "missing" and len(one["loc"]) == 1), errors[0])
            where = ".".join(map(str, first["loc"])) or "the line"
            what = first["msg"].removeprefix("Value error, ")
            if first["type"] == "missing" and len(first["loc"]) == 1 and (wanted := getattr(kind, "wanted", "")):
                what += f"; {wanted}, and this line has {', '.join(map(str, first['input'])) or 'nothing'}"
            raise MendableError(f"{path}, line {number} is not {_noun(kind)}: {where}: {what}.") from None


def _noun(kind: type[BaseModel]) -> str:
    return f"a {re.sub('(?<=[a-z])(?=[A-Z])', ' ', kind.__name__).lower()}"
