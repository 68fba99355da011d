"""What people wrote stays letters, whatever control tokens it spells.

A chat template renders a conversation as one string, in which its own control tokens and the letters of a text look alike. So texts that
hold such letters are set apart before: a mark goes through the template in their place, and each is encoded as letters afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from transformers import PreTrainedTokenizerFast

from training.datasets.jsonl import Said, ToolSchema

MARK = "\ue000"  # of the private use area
_MARKED = re.compile(f"{MARK}(\\d+){MARK}")


class Marks:
    """Texts by the marks that stand for them."""

    def __init__(self, controls: Iterable[str]) -> None:
        self._controls = _one_of([MARK, *controls])
        self._texts: list[str] = []

    def new(self, text: str) -> str:
        self._texts.append(text)
        return f"{MARK}{len(self._texts) - 1}{MARK}"

    def message(self, said: Said) -> dict[str, Any]:
        """As a template gets it. A text is set apart whole, so that its tokens are those of the text alone.

        Of calls and their results only the letters in question are: a template may write them as JSON, where a text looks otherwise.
        """
        fields = said.model_dump()
        if said.tool_calls or said.role == "tool":
            return self.inside(fields)  # type: ignore[no-any-return]
        text = said.content.strip()
        if self._controls.search(text):
            fields["content"] = said.content.replace(text, self.new(text), 1)
        return fields

    def inside(self, value: Any) -> Any:
        """A JSON value with marks in the place of control tokens' letters, those in its keys as well."""
        if isinstance(value, str):
            return self._controls.sub(lambda found: self.new(found[0]), value)
        if isinstance(value, dict):
            return {self.inside(key): self.inside(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.inside(one) for one in value]
        return value

    def pieces(self, rendered: str) -> Iterator[tuple[str, bool]]:
        """The parts of a rendered text, and of each whether it was set apart."""
        for place, piece in enumerate(_MARKED.split(rendered)):
            if text := self._texts[int(piece)] if place % 2 else piece:
                yield text, bool(place % 2)


class Lettered:
    """Encodes a text as letters. The library splits special tokens only, not other added ones such as Qwen's <tool_call>: those are
    parted here after their first letter."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        added = [token.content for token in tokenizer.added_tokens_decoder.values() if not token.special]
        self._begins = re.compile(f"(?={_one_of(added).pattern})") if added else None

    def __call__(self, text: str) -> list[int]:
        cuts = [found.start() + 1 for found in self._begins.finditer(text)] if self._begins else []
        tokens: list[int] = []
        for start, end in zip([0, *cuts], [*cuts, len(text)]):
            tokens += self._tokenizer.encode(text[start:end], add_special_tokens=False, split_special_tokens=True)
        return tokens


def all_marked(
    messages: Sequence[Said], tools: Sequence[ToolSchema]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, str]]:
    """A conversation in which each thing that a template without tools would leave out is a mark, and what each mark stands for."""
    marks = Marks(())
    stands_for: dict[str, str] = {}

    def mark(what: str) -> str:
        made = marks.new("")
        stands_for[made] = what
        return made

    shown = []
    for said in messages:
        fields = said.model_dump()
        if said.tool_calls and said.content.strip():
            fields["content"] = mark("what is said with a call")
        elif said.role == "tool":
            fields["content"] = mark("a tool's answer")
        for call in fields.get("tool_calls", ()):
            call["function"] = {
                "name": mark("the call of a tool"),
                "arguments": {"of": mark("the arguments of a call")},
            }
        shown.append(fields)
    known = [one.model_dump() for one in tools]
    for one in known:
        one["function"]["name"] = mark("the tools that there are")
    return shown, known, stands_for


def _one_of(texts: Iterable[str]) -> re.Pattern[str]:
    """The longest first, so that none is taken for the beginning of another."""
    return re.compile(f"(?:{'|'.join(map(re.escape, sorted(set(texts), key=lambda one: (-len(one), one))))})")
