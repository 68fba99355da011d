"""Keeps text that spells control tokens from becoming control tokens.

A chat template renders a conversation as one string, in which its own control tokens look like the same characters in a text. So each text that
contains such characters is replaced by a placeholder before it is rendered, and encoded literally afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from transformers import PreTrainedTokenizerFast

from training.datasets.jsonl import ChatMessage, ToolSchema

DELIMITER = "\ue000"  # a private-use character
_PLACEHOLDER = re.compile(f"{DELIMITER}(\\d+){DELIMITER}")


class Placeholders:
    """Texts, and the placeholders that stand for them in a conversation."""

    def __init__(self, controls: Iterable[str]) -> None:
        self._controls = _any_of([DELIMITER, *controls])
        self._texts: list[str] = []

    def new(self, text: str) -> str:
        """Return a new placeholder for `text`."""
        self._texts.append(text)
        return f"{DELIMITER}{len(self._texts) - 1}{DELIMITER}"

    def message(self, message: ChatMessage) -> dict[str, Any]:
        """Return a message for the template. A text with control tokens in it is replaced as a whole, so that it is encoded as it is alone.

        In tool calls and their results only the control tokens are replaced: a template may write these as JSON, which escapes characters.
        """
        fields = message.model_dump()
        if message.tool_calls or message.role == "tool":
            return self.replace_in(fields)  # type: ignore[no-any-return]
        text = message.content.strip()
        if self._controls.search(text):
            fields["content"] = message.content.replace(text, self.new(text), 1)
        return fields

    def replace_in(self, value: Any) -> Any:
        """Return a JSON value with placeholders for the control tokens in its strings and keys."""
        if isinstance(value, str):
            return self._controls.sub(lambda found: self.new(found[0]), value)
        if isinstance(value, dict):
            return {self.replace_in(key): self.replace_in(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.replace_in(one) for one in value]
        return value

    def split(self, rendered: str) -> Iterator[tuple[str, bool]]:
        """Yield the parts of a rendered conversation, and whether each stood behind a placeholder."""
        for place, part in enumerate(_PLACEHOLDER.split(rendered)):
            if text := self._texts[int(part)] if place % 2 else part:
                yield text, bool(place % 2)


class LiteralEncoder:
    """Encodes a text without control tokens. The tokenizers library splits special tokens only, and not other added tokens such as Qwen's
    <tool_call>: those are split here after their first character."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        added = [token.content for token in tokenizer.added_tokens_decoder.values() if not token.special]
        self._starts = re.compile(f"(?={_any_of(added).pattern})") if added else None

    def __call__(self, text: str) -> list[int]:
        cuts = [found.start() + 1 for found in self._starts.finditer(text)] if self._starts else []
        tokens: list[int] = []
        for start, end in zip([0, *cuts], [*cuts, len(text)]):
            tokens += self._tokenizer.encode(text[start:end], add_special_tokens=False, split_special_tokens=True)
        return tokens


def with_placeholders(
    messages: Sequence[ChatMessage], tools: Sequence[ToolSchema]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, str]]:
    """Return messages and tools with a placeholder for everything about tools that a template might leave out, and what each stands for."""
    placeholders = Placeholders(())
    meanings: dict[str, str] = {}

    def placeholder(meaning: str) -> str:
        new = placeholders.new("")
        meanings[new] = meaning
        return new

    shown = []
    for message in messages:
        fields = message.model_dump()
        if message.tool_calls and message.content.strip():
            fields["content"] = placeholder("the text of a message with a tool call")
        elif message.role == "tool":
            fields["content"] = placeholder("a tool's answer")
        for call in fields.get("tool_calls", ()):
            call["function"] = {
                "name": placeholder("tool calls"),
                "arguments": {"of": placeholder("the arguments of a tool call")},
            }
        shown.append(fields)
    schemas = [one.model_dump() for one in tools]
    for schema in schemas:
        schema["function"]["name"] = placeholder("the list of tools")
    return shown, schemas, meanings


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """A pattern that tries longer texts first, so that none matches as the beginning of another."""
    return re.compile(f"(?:{'|'.join(map(re.escape, sorted(set(texts), key=lambda one: (-len(one), one))))})")
