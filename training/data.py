"""Conversations and preferences from JSON Lines files, as tokens.

A conversation is `{"messages": [...]}` or `{"prompt": [...], "completion": [...]}`, a preference `{"prompt": [...], "chosen": [...],
"rejected": [...]}`, in the words of TRL, and a plain text `{"text": "..."}`. A preference may also have `label` (the probability
that the chosen one is the better, from 0.5 to 1), `strength` (0 a tie, 1 better, 2 much better) and `margin` (in log-odds).

What is written in a message never becomes a control token: a story that holds the letters of `<|im_end|>` is read as letters.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from transformers import PreTrainedTokenizerFast

from training.errors import MendableError
from training.records import Sample

MOST_BYTES = 64 * 2**20
"""Of one line: fifty novels."""


class Said(BaseModel):
    """One message."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    role: Literal["system", "user", "assistant", "tool"]
    content: str


Messages = Annotated[list[Said], Field(min_length=1)]


class Text(BaseModel):
    """A line to go on pretraining on."""

    text: str = Field(min_length=1)


class Conversation(BaseModel):
    """A line to fine-tune on: what the assistant says in it is learned."""

    messages: Messages

    @model_validator(mode="before")
    @classmethod
    def of_two_parts(cls, line: Any) -> Any:
        if isinstance(line, dict) and "messages" not in line and isinstance(line.get("prompt"), list):
            return {"messages": [*line["prompt"], *line.get("completion", [])]}
        return line

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
    label: float = Field(1.0, ge=0.5, le=1.0)
    strength: int = Field(1, ge=0, le=9)
    margin: float = Field(0.0, allow_inf_nan=False)

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
                    if len(raw) > MOST_BYTES:
                        raise MendableError(f"{path}, line {number} is longer than {MOST_BYTES // 2**20} MB.")
                    if raw.strip():
                        yield f"{path}, line {number}", kind.model_validate_json(raw)
        except FileNotFoundError:
            raise MendableError(f"The data file {path} is not there.") from None
        except (OSError, EOFError) as error:
            raise MendableError(f"The data file {path} cannot be read after line {number}: {error}.") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            raise MendableError(
                f"{path}, line {number} is not {_named(kind)}: {where}: {first['msg'].removeprefix('Value error, ')}."
            ) from None


def _named(kind: type[BaseModel]) -> str:
    return {"Text": "a text", "Conversation": "a conversation", "Preference": "a preference"}[kind.__name__]


class ChatEncoder:
    """Renders messages by the tokenizer's own chat template and encodes them, with all that people wrote kept as letters."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, source: Path) -> None:
        if not tokenizer.chat_template:
            raise MendableError(
                f"The tokenizer in {source} has no chat template, so nobody can say how a conversation is put to the model: take "
                "an instruction-tuned model's, or put a chat_template.jinja into the folder."
            )
        self.tokenizer, self.source = tokenizer, source
        self.controls = [str(token) for token in tokenizer.all_special_tokens] + list(tokenizer.get_added_vocab())
        if tokenizer.eos_token_id is None:
            raise MendableError(f"The tokenizer in {source} names no end token (eos_token).")
        self.end = int(tokenizer.eos_token_id)

    def turns(self, messages: Sequence[Said]) -> Sample:
        """The whole conversation; the assistant's turns, each with the token that ends it, have weight 1."""
        tokens: list[int] = []
        weights: list[float] = []
        before = ""
        for number, message in enumerate(messages):
            if message.role != "assistant":
                continue
            asked = self._render(messages[:number], ask=True)
            answered = self._render(messages[: number + 1], ask=False)
            if not asked.startswith(before) or not answered.startswith(asked):
                raise MendableError(
                    f"The chat template in {self.source} tells earlier turns anew as the conversation goes on, so its turns cannot "
                    "be learned together: give each answer a line of its own."
                )
            given = self._encode(asked.removeprefix(before), messages[:number])
            learned = self._encode(answered.removeprefix(asked), messages[number : number + 1])
            ended = learned.index(self.end) + 1 if self.end in learned else len(learned)
            tokens += given + learned
            weights += [0.0] * len(given) + [1.0] * ended + [0.0] * (len(learned) - ended)
            before = answered
        kept = len(weights) - next((place for place, weight in enumerate(reversed(weights)) if weight), 0)
        return Sample.of(tokens[:kept], weights[:kept])  # what the template puts after the last answer is nobody's

    def _render(self, messages: Sequence[Said], *, ask: bool) -> str:
        said = [message.model_dump() for message in messages]
        try:
            text = self.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=ask)
        except Exception as error:
            raise MendableError(f"The chat template in {self.source} refuses a conversation: {error}.") from error
        return str(text)

    def _encode(self, rendered: str, messages: Sequence[Said]) -> list[int]:
        """Tokens of a rendered text. Messages with the letters of a control token are encoded apart, as letters."""
        pieces: list[tuple[str, bool]] = [(rendered, False)]
        for message in messages:
            content = message.content.strip()
            if any(control in content for control in self.controls):
                first, is_text = pieces.pop()
                head, found, tail = first.partition(content)
                pieces += [(head, is_text), (content, True), (tail, False)] if found else [(first, True)]
        tokens: list[int] = []
        for piece, is_text in pieces:
            if piece:
                tokens += self.tokenizer.encode(piece, add_special_tokens=False, split_special_tokens=is_text)
        return tokens


@dataclass(frozen=True)
class Pairs:
    """Preferences as tokens: each example is a chosen and a rejected text, with what was said of them."""

    examples: list[tuple[Sample, Sample]] = field(default_factory=list)
    labels: list[float] = field(default_factory=list)
    strengths: list[int] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)


Overlong = Literal["refuse", "drop", "cut"]


@dataclass
class Fitting:
    """Holds texts against the context, and counts those that it dropped or cut."""

    context: int
    overlong: Overlong
    dropped: int = 0
    cut: int = 0

    def __call__(self, where: str, *samples: Sample) -> tuple[Sample, ...] | None:
        longest = max(map(len, samples))
        if longest <= self.context:
            return samples
        if self.overlong == "refuse":
            raise MendableError(
                f"{where} has a text of {longest} tokens, and context is {self.context}: raise context, or set overlong to 'drop' "
                "or 'cut'."
            )
        if self.overlong == "drop":
            self.dropped += 1
            return None
        self.cut += 1
        parts = tuple(Sample(one.tokens[: self.context], one.weights[: self.context]) for one in samples)
        return parts if all(part.learned for part in parts) else None

    def told(self) -> str:
        return f"{self.dropped} dropped and {self.cut} cut for being longer than {self.context} tokens"


def conversations(paths: Iterable[Path], encoder: ChatEncoder, fit: Fitting) -> list[tuple[Sample]]:
    found = []
    for where, line in read_lines(paths, Conversation):
        if kept := fit(where, encoder.turns(line.messages)):
            found.append((kept[0],))
    return found


def pairs(paths: Iterable[Path], encoder: ChatEncoder, fit: Fitting) -> Pairs:
    found = Pairs()
    for where, line in read_lines(paths, Preference):
        chosen, rejected = (_last_turn(encoder, [*line.prompt, *side]) for side in (line.chosen, line.rejected))
        if kept := fit(where, chosen, rejected):
            found.examples.append((kept[0], kept[1]))
            found.labels.append(0.5 if line.strength == 0 else line.label)
            found.strengths.append(line.strength)
            found.margins.append(line.margin)
    return found


def _last_turn(encoder: ChatEncoder, messages: list[Said]) -> Sample:
    """A conversation of which only the last answer counts: earlier ones are the same on both sides of a pair."""
    whole = encoder.turns(messages)
    ends = np.flatnonzero(np.diff(whole.weights) > 0)
    weights = whole.weights.copy()
    weights[: ends[-1] + 1] = 0.0
    return Sample(whole.tokens, weights)


def texts(paths: Iterable[Path], tokenizer: PreTrainedTokenizerFast, context: int) -> list[tuple[Sample]]:
    """Plain texts in pieces of at most `context` tokens, all of each text: the piece after the first goes on where it ended."""
    found = []
    for _, line in read_lines(paths, Text):
        ids = tokenizer.encode(line.text, add_special_tokens=False, split_special_tokens=True)
        tokens = np.asarray([*ids, tokenizer.eos_token_id], dtype=np.int32)
        for first in range(0, len(tokens), context):
            piece = tokens[first : first + context]
            if len(piece) > 1:
                found.append((Sample(piece, np.ones(len(piece), dtype=np.float32)),))
    return found


def fingerprint(examples: Iterable[tuple[Sample, ...]]) -> str:
    """A hash of the tokens and weights of all examples in their order."""
    sha = hashlib.sha256()
    for example in examples:
        for sample in example:
            sha.update(len(sample).to_bytes(8, "little") + sample.tokens.tobytes() + sample.weights.tobytes())
    return sha.hexdigest()
