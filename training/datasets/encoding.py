"""Encodes conversations, preferences and texts (`training.datasets.jsonl`) as tokens.

The text of a message never becomes a control token: `<|im_end|>` in a story is encoded as plain characters (`training.datasets.control_tokens`).
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Literal

from transformers import PreTrainedTokenizerFast

from training.common.errors import MendableError
from training.common.records import Sample
from training.datasets.control_tokens import LiteralEncoder, Placeholders
from training.datasets.jsonl import THINK, THOUGHT, ChatMessage, Conversation, Preference, Text, ToolSchema, read_jsonl
from training.datasets.mixture import weighted
from training.datasets.templates import ChatTemplate, beginning

_NOTHING = "nothing to learn: no answer of the assistant has a text, or each has weight 0."
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
        self.template = ChatTemplate(tokenizer, source)
        self.tokenizer, self.source = tokenizer, source
        if tokenizer.eos_token_id is None:
            raise MendableError(_NO_END.format(source))
        self.end = int(tokenizer.eos_token_id)
        self.ends = end_tokens(tokenizer)
        self.special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.vocabulary = vocabulary_of(tokenizer)
        self._encode = LiteralEncoder(tokenizer.backend_tokenizer, source)

    def encode(
        self, messages: Sequence[ChatMessage], *, tools: Sequence[ToolSchema] | None = None, only_last: bool = False
    ) -> Sample:
        """Encode a conversation as one sample (`samples`). Raises MendableError where its answers need one each."""
        found = self.samples(messages, tools=tools, only_last=only_last)
        if len(found) != 1:
            raise MendableError(
                f"The chat template in {self.source} renders earlier turns differently once others follow, so the turns of a "
                "conversation cannot be learned together: give each answer a line of its own."
                if found
                else _NOTHING
            )
        return found[0]

    def samples(
        self, messages: Sequence[ChatMessage], *, tools: Sequence[ToolSchema] | None = None, only_last: bool = False
    ) -> list[Sample]:
        """Encode a conversation. The assistant's turns that have no weight 0 (or only the last), each with the token that ends it, have weight 1.

        They are in one sample, unless the template renders a turn otherwise once others follow (Qwen3 takes thinking out of earlier turns): then
        each answer is learned after the prompt that a model would get for it, in a sample of its own. A tool call is a turn of the assistant; the
        tool's answer is not. Raises MendableError for a template that cannot render the conversation, or that ends no answer.
        """
        self.template.check_tools(messages, tools or ())
        placeholders = Placeholders(self._encode.pattern)
        turns = self.template.turns(messages, placeholders)
        schemas = [placeholders.replace_in(one.model_dump()) for one in tools or ()]
        found: list[Sample] = []
        text, answers = "", list[tuple[int, int]]()
        for number, message in enumerate(messages):
            if message.role != "assistant" or message.weight == 0 or (only_last and number < len(messages) - 1):
                continue
            rendered, start = self.template.answer(turns, number, schemas)
            if answers and not rendered.startswith(text):
                found.append(self._sample(text, answers, placeholders))
                answers = []
            text, answers = rendered, [*answers, (start, len(rendered))]
        return [*found, self._sample(text, answers, placeholders)] if answers else found

    def encode_prompt(self, messages: Sequence[ChatMessage]) -> list[int]:
        """Return the tokens of a conversation up to where the assistant's next turn begins."""
        placeholders = Placeholders(self._encode.pattern)
        rendered = self.template.render(self.template.turns(messages, placeholders), generate=True)
        return self._tokens(rendered, [], placeholders)[0]

    def decode_answer(self, tokens: Iterable[int]) -> str:
        """Return the text of an answer of the model without the token that ends it. Tags of thinking are text, whatever the tokenizer takes them
        for."""
        kept = [token for token in tokens if token not in self.ends]
        return str(self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def learnable(self, message: ChatMessage) -> bool:
        """Return whether a message is an answer with something to learn beside control tokens."""
        if message.role != "assistant" or message.weight == 0:
            return False
        thinking, text = message.parts
        return bool(self._encode.pattern.sub("", text).strip() or message.tool_calls or (thinking or "").strip())

    @cached_property
    def notes(self) -> list[str]:
        """What a person should know about the template. Raises MendableError for one that ends no answer."""
        asked = [ChatMessage(role="user", content="A story?"), ChatMessage(role="assistant", content="It rained.")]
        end = int(self.encode(asked).tokens[-1])
        if end in self.ends:
            return []
        token = self.tokenizer.convert_ids_to_tokens(end)
        note = (
            f"Answers end with {token} (token {end}), which is no end token of the model: a server that is to stop there needs it as "
            "eos_token_id in generation_config.json."
        )
        return [note]

    def _sample(self, rendered: str, answers: Sequence[tuple[int, int]], placeholders: Placeholders) -> Sample:
        """Encode a rendered conversation, in which the characters of `answers` are learned up to the token that ends each."""
        tokens, starts, literal, places = self._tokens(
            rendered, [place for one in answers for place in one], placeholders
        )
        weights = [0.0] * len(tokens)
        kept = 0
        for start, end in zip(places[::2], places[1::2]):
            first, last = bisect_left(starts, start), bisect_left(starts, end)
            kept = first + self._answer_length(tokens[first:last], starts[first:last], literal.rfind(1, start, end))
            weights[first:kept] = [1.0] * (kept - first)
        # without what the template adds after the last answer
        return Sample.from_lists(tokens[:kept], weights[:kept])

    def _answer_length(self, learned: Sequence[int], starts: Sequence[int], text_end: int) -> int:
        """Return the tokens of an answer up to the one that ends it: the end token, or else the last control token after its text."""
        after = [place for place, start in enumerate(starts) if start > text_end]
        for ending in ({self.end}, self.special, self._encode.controls):
            if found := [place for place in after if learned[place] in ending]:
                return 1 + (found[0] if ending == {self.end} else found[-1])
        raise MendableError(
            f"The chat template in {self.source} writes no token that ends an answer, so the model would not learn to stop: write "
            f"{self.tokenizer.eos_token} after each answer there."
        )

    def _tokens(
        self, rendered: str, bounds: Sequence[int], placeholders: Placeholders
    ) -> tuple[list[int], list[int], bytearray, list[int]]:
        """Return the tokens of a rendered conversation, the character that each starts at, which characters are of messages (1), and `bounds`,
        which rise, counted in the text without placeholders."""
        text, literal, places = "", bytearray(), list[int]()
        for begin, end in pairwise([0, *bounds, len(rendered)]):
            for part, of_message in placeholders.split(rendered[begin:end]):
                text += part
                literal += (b"\1" if of_message else b"\0") * len(part)
            places.append(len(text))
        # A tag that is no control token is text: else Mistral's token for "]<" would hold the end of the prompt and the beginning of an answer.
        for tag in (THINK, THOUGHT):
            if not self._encode.pattern.search(tag):
                for found in re.finditer(tag, text):
                    literal[found.start() : found.end()] = b"\1" * len(tag)
        tokens, starts = self._encode.with_starts(text, literal, places[:-1])
        check_vocabulary(tokens, self.vocabulary, self.source)
        return tokens, starts, literal, places[:-1]


def end_tokens(tokenizer: PreTrainedTokenizerFast) -> set[int]:
    """Return the tokens at which a server stops: those of the tokenizer, and of generation_config.json or config.json beside it."""
    found = {int(tokenizer.eos_token_id)}
    for name in ("generation_config.json", "config.json"):
        with suppress(OSError, ValueError, AttributeError):
            config = json.loads((Path(tokenizer.name_or_path) / name).read_bytes())
            one = (config.get("text_config") or config).get("eos_token_id")
            found |= {int(number) for number in (one if isinstance(one, list) else [one]) if number is not None}
    return found


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


def conversations(
    paths: Sequence[Path], encoder: ChatEncoder, fit: ContextLimit, weights: Sequence[float] = (), seed: int = 0
) -> list[tuple[Sample]]:
    """Read and encode conversations, those of each file by its weight (`training.datasets.mixture`).

    Raises MendableError, naming the line, for one that cannot be used.
    """
    found: list[tuple[Sample]] = []
    for number, path in enumerate(paths):
        lines = []
        for where, line in read_jsonl([path], Conversation):
            with errors_located_at(where):
                if not any(map(encoder.learnable, line.messages)):
                    raise MendableError(_NOTHING)
                samples = encoder.samples(line.messages, tools=line.tools)
            lines.append([(kept[0],) for sample in samples if (kept := fit(where, sample))])
        found += chain(*weighted(lines, weights[number] if weights else 1, f"{seed}/{number}"))
    return found


def pairs(paths: Iterable[Path], encoder: ChatEncoder, fit: ContextLimit) -> Pairs:
    """Read and encode preferences. Raises MendableError, naming the line, for one that cannot be used."""
    found = Pairs()
    for where, line in read_jsonl(paths, Preference):
        with errors_located_at(where):  # earlier answers are the same on both sides
            for name, side in (("chosen", line.chosen), ("rejected", line.rejected)):
                if not encoder.learnable(side[-1]):
                    raise MendableError(f"nothing to learn: the answer in {name} has no text, or has weight 0.")
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


def texts(
    paths: Sequence[Path],
    tokenizer: PreTrainedTokenizerFast,
    context: int,
    weights: Sequence[float] = (),
    seed: int = 0,
) -> list[tuple[Sample]]:
    """Read and encode plain texts, each divided into consecutive pieces of at most `context` tokens; those of each file by its weight.

    A text begins with the tokenizer's beginning-of-text token, if the model knows one, and ends with the end token.
    """
    if tokenizer.eos_token_id is None:
        raise MendableError(_NO_END.format(tokenizer.name_or_path))
    vocabulary = vocabulary_of(tokenizer)
    encode = LiteralEncoder(tokenizer.backend_tokenizer, tokenizer.name_or_path)
    begin = beginning(tokenizer)
    found: list[tuple[Sample]] = []
    for number, path in enumerate(paths):
        lines = []
        for where, line in read_jsonl([path], Text):
            if not line.text.strip():
                raise MendableError(f"{where}: nothing to learn: the text is empty.")
            tokens = [*begin, *encode(line.text), int(tokenizer.eos_token_id)]
            with errors_located_at(where):
                check_vocabulary(tokens, vocabulary, tokenizer.name_or_path)
            lines.append(list(_pieces(tokens, context)))
        found += chain(*weighted(lines, weights[number] if weights else 1, f"{seed}/{number}"))
    return found


def _pieces(tokens: Sequence[int], context: int) -> Iterator[tuple[Sample]]:
    """Yield consecutive pieces of at most `context` tokens, of which all are learned."""
    starts = list(range(0, len(tokens), context))
    if len(starts) > 1 and len(tokens) - starts[-1] == 1:
        starts[-1] -= 1  # a single token could not be predicted from anything
    for first, end in zip(starts, [*starts[1:], len(tokens)]):
        yield (Sample.from_lists(tokens[first:end], [1.0] * (end - first)),)


def fingerprint(examples: Iterable[tuple[Sample, ...]]) -> str:
    """Return a hash of the tokens and weights of all examples, in their order."""
    sha = hashlib.sha256()
    for example in examples:
        for sample in example:
            sha.update(len(sample).to_bytes(8, "little") + sample.tokens.tobytes() + sample.weights.tobytes())
    return sha.hexdigest()
