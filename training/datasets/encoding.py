"""Conversations, preferences and texts (`training.datasets.jsonl`) as tokens.

What is written in a message never becomes a control token: a story that holds the letters of `<|im_end|>` is read as letters
(`training.datasets.control_tokens`).
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
from training.datasets.control_tokens import Lettered, Marks, all_marked
from training.datasets.jsonl import Conversation, Preference, Said, Text, ToolSchema, read_lines

NO_END = (
    "The tokenizer in {} names no end token, so no text could ever end: set eos_token in its tokenizer_config.json."
)


def vocabulary_of(tokenizer: PreTrainedTokenizerFast) -> int | None:
    """How many tokens the model beside a tokenizer knows; None where no model stands beside it."""
    try:
        config = json.loads((Path(tokenizer.name_or_path) / "config.json").read_bytes())
        return int((config.get("text_config") or config)["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def check_vocabulary(tokens: Iterable[int], vocabulary: int | None, source: object) -> None:
    """A tokenizer may have more tokens than its model, as long as no text has them."""
    highest = max(tokens, default=0)
    if vocabulary is not None and highest >= vocabulary:
        raise MendableError(
            f"The tokenizer in {source} makes token {highest} of this text, and the model's vocabulary ends at {vocabulary - 1} "
            "(vocab_size in config.json): the two do not belong together."
        )


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
            raise MendableError(NO_END.format(source))
        self.end = int(tokenizer.eos_token_id)
        self.special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.vocabulary = vocabulary_of(tokenizer)
        self._lettered = Lettered(tokenizer)

    def turns(
        self, messages: Sequence[Said], *, tools: Sequence[ToolSchema] | None = None, only_last: bool = False
    ) -> Sample:
        """The whole conversation; the assistant's turns (or only the last), each with the token that ends it, have weight 1.

        A call of a tool is such a turn, the tool's answer is not.
        """
        tokens: list[int] = []
        weights: list[float] = []
        before = ""
        self._check_tools(messages, tools or ())
        marks = Marks(self.controls)
        said = [marks.message(message) for message in messages]
        known = [marks.inside(one.model_dump()) for one in tools or ()]
        for number, message in enumerate(messages):
            if message.role != "assistant":
                continue
            asked = self._render(said[:number], known, ask=True)
            answered = self._render(said[: number + 1], known, ask=False)
            if not asked.startswith(before) or not answered.startswith(asked):
                raise MendableError(
                    f"The chat template in {self.source} tells earlier turns anew as the conversation goes on, so its turns cannot "
                    "be learned together: give each answer a line of its own."
                )
            given = self._encode(asked.removeprefix(before), marks)
            learned = self._encode(answered.removeprefix(asked), marks)
            ended = self._ended(learned)
            weight = 0.0 if only_last and number < len(messages) - 1 else 1.0
            tokens += given + learned
            weights += [0.0] * len(given) + [weight] * ended + [0.0] * (len(learned) - ended)
            before = answered
        check_vocabulary(tokens, self.vocabulary, self.source)
        kept = len(weights) - next((place for place, weight in enumerate(reversed(weights)) if weight), 0)
        return Sample.of(tokens[:kept], weights[:kept])  # what the template puts after the last answer is nobody's

    def asked(self, messages: Sequence[Said]) -> list[int]:
        """The conversation so far, up to where the assistant's next turn begins."""
        marks = Marks(self.controls)
        tokens = self._encode(self._render([marks.message(message) for message in messages], [], ask=True), marks)
        check_vocabulary(tokens, self.vocabulary, self.source)
        return tokens

    def _check_tools(self, messages: Sequence[Said], tools: Sequence[ToolSchema]) -> None:
        """A template that knows no tools leaves them out without a word, and the model would learn to answer from nothing."""
        if not tools and not any(message.tool_calls or message.role == "tool" for message in messages):
            return
        said, known, marked = all_marked(messages, tools)
        rendered = self._render(said, known, ask=False)
        if lost := next((what for mark, what in marked.items() if mark not in rendered), ""):
            raise MendableError(
                f"The chat template in {self.source} leaves out {lost}: take a model whose template knows tools, or leave the "
                "conversations with tools out of the data."
            )

    def _render(self, said: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]], *, ask: bool) -> str:
        try:
            text = self.tokenizer.apply_chat_template(
                list(said), tools=list(tools) or None, tokenize=False, add_generation_prompt=ask
            )
        except Exception as error:
            raise MendableError(f"The chat template in {self.source} refuses a conversation: {error}.") from error
        return str(text)

    def _ended(self, learned: Sequence[int]) -> int:
        """Tokens of an answer up to the one that ends it: the end token, or the last control token where a template has another."""
        if self.end in learned:
            return learned.index(self.end) + 1
        return next((place for place in range(len(learned), 0, -1) if learned[place - 1] in self.special), len(learned))

    def _encode(self, rendered: str, marks: Marks) -> list[int]:
        """Tokens of a rendered text; what was set apart is encoded as letters."""
        tokens: list[int] = []
        for text, apart in marks.pieces(rendered):
            tokens += self._lettered(text) if apart else self.tokenizer.encode(text, add_special_tokens=False)
        return tokens


@dataclass(frozen=True)
class Pairs:
    """Preferences as tokens: each example is a chosen and a rejected text, with what was said of them."""

    examples: list[tuple[Sample, Sample]] = field(default_factory=list)
    labels: list[float] = field(default_factory=list)
    strengths: list[int] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    principles: list[tuple[str, ...]] = field(default_factory=list)


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
                f"{where} has a text of {longest:,} tokens, and there is room for {self.context:,}: raise context (if the model has "
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


def conversations(paths: Iterable[Path], encoder: ChatEncoder, fit: Fitting) -> list[tuple[Sample]]:
    found = []
    for where, line in read_lines(paths, Conversation):
        with said_of(where):
            sample = encoder.turns(line.messages, tools=line.tools)
        if kept := fit(where, sample):
            found.append((kept[0],))
    return found


def pairs(paths: Iterable[Path], encoder: ChatEncoder, fit: Fitting) -> Pairs:
    found = Pairs()
    for where, line in read_lines(paths, Preference):
        with said_of(where):  # only the last answers count: earlier ones are the same on both sides
            chosen, rejected = (
                encoder.turns([*line.prompt, *side], tools=line.tools, only_last=True)
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
def said_of(where: str) -> Iterator[None]:
    """Says of what goes wrong inside where in the data it did."""
    try:
        yield
    except MendableError as error:
        raise MendableError(f"{where}: {error}") from error


def texts(paths: Iterable[Path], tokenizer: PreTrainedTokenizerFast, context: int) -> list[tuple[Sample]]:
    """Plain texts in pieces of at most `context` tokens, all of each text: the piece after the first goes on where it ended."""
    if tokenizer.eos_token_id is None:
        raise MendableError(NO_END.format(tokenizer.name_or_path))
    vocabulary = vocabulary_of(tokenizer)
    lettered = Lettered(tokenizer)
    found = []
    for where, line in read_lines(paths, Text):
        tokens = np.asarray([*lettered(line.text), tokenizer.eos_token_id], dtype=np.int32)
        with said_of(where):
            check_vocabulary(tokens.tolist(), vocabulary, tokenizer.name_or_path)
        starts = list(range(0, len(tokens), context))
        if len(starts) > 1 and len(tokens) - starts[-1] == 1:
            starts[-1] -= 1  # a token alone has nothing before it to be predicted from
        for first, end in zip(starts, [*starts[1:], len(tokens)]):
            if end - first > 1:
                found.append((Sample(tokens[first:end], np.ones(end - first, dtype=np.float32)),))
    return found


def fingerprint(examples: Iterable[tuple[Sample, ...]]) -> str:
    """A hash of the tokens and weights of all examples in their order."""
    sha = hashlib.sha256()
    for example in examples:
        for sample in example:
            sha.update(len(sample).to_bytes(8, "little") + sample.tokens.tobytes() + sample.weights.tobytes())
    return sha.hexdigest()
