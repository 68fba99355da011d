"""Encodes conversations, preferences and texts (`training.datasets.jsonl`) as tokens.

The text of a message never becomes a control token: `<|im_end|>` in a story is encoded as plain characters (`training.datasets.control_tokens`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from transformers import PreTrainedTokenizerFast

from training.common.errors import MendableError
from training.common.records import Sample
from training.datasets.control_tokens import LiteralEncoder, Placeholders, with_placeholders
from training.datasets.jsonl import ChatMessage, Conversation, Preference, Text, ToolSchema, read_jsonl

_NO_END = "The tokenizer in {} has no end token, so texts could not end: set eos_token in its tokenizer_config.json."


def vocabulary_of(tokenizer: PreTrainedTokenizerFast) -> int | None:
    """Return the size of the vocabulary of the model beside a tokenizer; None without a model."""
    try:
        config = json.loads((Path(tokenizer.name_or_path) / "config.json").read_bytes())
        return int((config.get("text_config") or config)["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def check_vocabulary(tokens: Iterable[int], vocabulary: int | None, source: object) -> None:
    """Raise MendableError for a token that the model does not have. A tokenizer may have such tokens, as long as no text has them."""
    highest = max(tokens, default=0)
    if vocabulary is not None and highest >= vocabulary:
        raise MendableError(
            f"The tokenizer in {source} encodes this text with token {highest}, and the model's vocabulary ends at {vocabulary - 1} "
            "(vocab_size in config.json): use the model's own tokenizer."
        )


class ChatEncoder:
    """Encodes conversations with the tokenizer's chat template; the texts of messages never become control tokens.

    Raises MendableError if the tokenizer has no chat template or no end token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, source: Path) -> None:
        if not tokenizer.chat_template:
            raise MendableError(
                f"The tokenizer in {source} has no chat template, which conversations need: use that of an instruction-tuned model, "
                "or put a chat_template.jinja into the folder."
            )
        self.tokenizer, self.source = tokenizer, source
        self.controls = [str(token) for token in tokenizer.all_special_tokens] + list(tokenizer.get_added_vocab())
        if tokenizer.eos_token_id is None:
            raise MendableError(_NO_END.format(source))
        self.end = int(tokenizer.eos_token_id)
        self.special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.vocabulary = vocabulary_of(tokenizer)
        self._encode_literally = LiteralEncoder(tokenizer)

    def encode(
        self, messages: Sequence[ChatMessage], *, tools: Sequence[ToolSchema] | None = None, only_last: bool = False
    ) -> Sample:
        """Encode a conversation. The assistant's turns (or only the last), each with the token that ends it, have weight 1.

        A tool call is such a turn; the tool's answer is not. Raises MendableError for a template that cannot render the conversation.
        """
        tokens: list[int] = []
        weights: list[float] = []
        before = ""
        self._check_tools(messages, tools or ())
        placeholders = Placeholders(self.controls)
        turns = [placeholders.message(message) for message in messages]
        schemas = [placeholders.replace_in(one.model_dump()) for one in tools or ()]
        for number, message in enumerate(messages):
            if message.role != "assistant":
                continue
            prompt = self._render(turns[:number], schemas, generate=True)
            answered = self._render(turns[: number + 1], schemas, generate=False)
            if not prompt.startswith(before) or not answered.startswith(prompt):
                raise MendableError(
                    f"The chat template in {self.source} renders earlier turns differently once others follow, so the turns of a "
                    "conversation cannot be learned together: give each answer a line of its own."
                )
            given = self._tokens(prompt.removeprefix(before), placeholders)
            learned = self._tokens(answered.removeprefix(prompt), placeholders)
            ended = self._answer_length(learned)
            weight = 0.0 if only_last and number < len(messages) - 1 else 1.0
            tokens += given + learned
            weights += [0.0] * len(given) + [weight] * ended + [0.0] * (len(learned) - ended)
            before = answered
        check_vocabulary(tokens, self.vocabulary, self.source)
        # without what the template adds after the last answer
        kept = len(weights) - next((place for place, weight in enumerate(reversed(weights)) if weight), 0)
        return Sample.of(tokens[:kept], weights[:kept])

    def encode_prompt(self, messages: Sequence[ChatMessage]) -> list[int]:
        """Return the tokens of a conversation up to where the assistant's next turn begins."""
        placeholders = Placeholders(self.controls)
        turns = [placeholders.message(message) for message in messages]
        tokens = self._tokens(self._render(turns, [], generate=True), placeholders)
        check_vocabulary(tokens, self.vocabulary, self.source)
        return tokens

    def _check_tools(self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema]) -> None:
        """Raise MendableError for a template without tools: it leaves them out silently, and the model would learn to answer without them."""
        if not tools and not any(message.tool_calls or message.role == "tool" for message in messages):
            return
        turns, schemas, meanings = with_placeholders(messages, tools)
        rendered = self._render(turns, schemas, generate=False)
        if lost := next((meaning for one, meaning in meanings.items() if one not in rendered), ""):
            raise MendableError(
                f"The chat template in {self.source} leaves out {lost}: use a model whose template supports tools, or leave the "
                "conversations with tools out of the data."
            )

    def _render(self, turns: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]], *, generate: bool) -> str:
        try:
            text = self.tokenizer.apply_chat_template(
                list(turns), tools=list(tools) or None, tokenize=False, add_generation_prompt=generate
            )
        except Exception as error:
            raise MendableError(f"The chat template in {self.source} refuses a conversation: {error}.") from error
        return str(text)

    def _answer_length(self, learned: Sequence[int]) -> int:
        """Return the tokens of an answer up to the one that ends it: the end token, or else the last control token."""
        if self.end in learned:
            return learned.index(self.end) + 1
        return next((place for place in range(len(learned), 0, -1) if learned[place - 1] in self.special), len(learned))

    def _tokens(self, rendered: str, placeholders: Placeholders) -> list[int]:
        """Encode a rendered text, with the texts behind placeholders encoded literally."""
        tokens: list[int] = []
        for text, literal in placeholders.split(rendered):
            if literal:
                tokens += self._encode_literally(text)
            else:
                tokens += self.tokenizer.encode(text, add_special_tokens=False)
        return tokens


@dataclass(frozen=True)
class Pairs:
    """Preferences as tokens: each example is a chosen and a rejected text; the other lists have an entry per example."""

    examples: list[tuple[Sample, Sample]] = field(default_factory=list)
    labels: list[float] = field(default_factory=list)
    strengths: list[int] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    principles: list[tuple[str, ...]] = field(default_factory=list)


Overlong = Literal["refuse", "drop", "cut"]


@dataclass
class ContextLimit:
    """Compares texts with the context, and counts those that it drops or cuts."""

    context: int
    overlong: Overlong
    dropped: int = 0
    cut: int = 0

    def __call__(self, where: str, *samples: Sample) -> tuple[Sample, ...] | None:
        """Return the texts of an example, cut if need be, or None for an example to drop. Raises MendableError where `overlong` is "refuse"."""
        longest = max(map(len, samples))
        if longest <= self.context:
            return samples
        if self.overlong == "refuse":
            raise MendableError(
                f"{where} has a text of {longest:,} tokens, and the context is {self.context:,}: raise context (if the model has "
                "the positions), or set overlong to 'drop' or 'cut'."
            )
        if self.overlong == "drop":
            self.dropped += 1
            return None
        parts = tuple(Sample(one.tokens[: self.context], one.weights[: self.context]) for one in samples)
        if not all(part.learned for part in parts):
            self.dropped += 1
            return None
        self.cut += 1
        return parts

    def summary(self) -> str:
        return f"{self.dropped} dropped and {self.cut} cut for being longer than {self.context} tokens"


def conversations(paths: Iterable[Path], encoder: ChatEncoder, fit: ContextLimit) -> list[tuple[Sample]]:
    """Read and encode conversations. Raises MendableError, naming the line, for one that cannot be used."""
    found = []
    for where, line in read_jsonl(paths, Conversation):
        with errors_located_at(where):
            sample = encoder.encode(line.messages, tools=line.tools)
        if kept := fit(where, sample):
            found.append((kept[0],))
    return found


def pairs(paths: Iterable[Path], encoder: ChatEncoder, fit: ContextLimit) -> Pairs:
    """Read and encode preferences. Raises MendableError, naming the line, for one that cannot be used."""
    found = Pairs()
    for where, line in read_jsonl(paths, Preference):
        with errors_located_at(where):  # earlier answers are the same on both sides
            chosen, rejected = (
                encoder.encode([*line.prompt, *side], tools=line.tools, only_last=True)
                for side in (line.chosen, line.rejected)
            )
        if kept := fit(where, chosen, rejected):
            found.examples.append((kept[0], kept[1]))
            found.labels.append(0.5 if line.strength == 0 else line.label)
            found.strengths.append(line.strength)
            found.margins.append(line.margin)
            found.principles.append(tuple(key for key, _ in line.principles))
    return found


@contextmanager
def errors_located_at(where: str) -> Iterator[None]:
    """Prefix the message of a MendableError raised inside with its place in the data."""
    try:
        yield
    except MendableError as error:
        raise MendableError(f"{where}: {error}") from error


def texts(paths: Iterable[Path], tokenizer: PreTrainedTokenizerFast, context: int) -> list[tuple[Sample]]:
    """Read and encode plain texts, each divided into consecutive pieces of at most `context` tokens."""
    if tokenizer.eos_token_id is None:
        raise MendableError(_NO_END.format(tokenizer.name_or_path))
    vocabulary = vocabulary_of(tokenizer)
    encode = LiteralEncoder(tokenizer)
    found = []
    for where, line in read_jsonl(paths, Text):
        tokens = np.asarray([*encode(line.text), tokenizer.eos_token_id], dtype=np.int32)
        with errors_located_at(where):
            check_vocabulary(tokens.tolist(), vocabulary, tokenizer.name_or_path)
        starts = list(range(0, len(tokens), context))
        if len(starts) > 1 and len(tokens) - starts[-1] == 1:
            starts[-1] -= 1  # a single token could not be predicted from anything
        for first, end in zip(starts, [*starts[1:], len(tokens)]):
            if end - first > 1:
                found.append((Sample(tokens[first:end], np.ones(end - first, dtype=np.float32)),))
    return found


def fingerprint(examples: Iterable[tuple[Sample, ...]]) -> str:
    """Return a hash of the tokens and weights of all examples, in their order."""
    sha = hashlib.sha256()
    for example in examples:
        for sample in example:
            sha.update(len(sample).to_bytes(8, "little") + sample.tokens.tobytes() + sample.weights.tobytes())
    return sha.hexdigest()
