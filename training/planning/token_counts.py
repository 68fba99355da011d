"""Estimates of the tokens in data files, from their words, without a tokenizer."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.common.errors import MendableError
from training.common.lengths import requested_words
from training.common.text import count_words
from training.config.declarations import GroupSettings, Recipe, group_settings
from training.config.recipe import RecipeSettings

DEFAULT_WORDS = 4500.0
"""Words of a text that is not known: a story of about 6,000 tokens."""
_TEXTS = ("system", "prompt", "messages", "conversations", "instruction", "input", "completion", "output", "text")
"""The fields of a line whose texts are learned or given (`training.datasets.shapes`)."""
COUNTED_ROWS = 2000
"""Rows whose words are counted; the words of further rows are estimated from their characters."""


@dataclass(slots=True)
class TokenCounts:
    """The tokens of the data under the settings."""

    examples: float = 0
    """Texts, pairs of texts, or groups of stories."""
    tokens: float = 0
    squares: float = 0
    """Sum of the squared lengths of texts."""
    longest: int = 0
    """Tokens of the longest example."""
    stories: float = 0
    """Stories that the policy writes in all groups, with `prompt_tokens` and `answer_tokens`."""
    prompt_tokens: float = 0
    answer_tokens: float = 0
    too_long: int = 0
    """Examples that exceed the context."""
    unread: int = 0
    """Lines without text."""
    source: str = ""
    """Where the counts come from, for people."""
    mixed: list[tuple[str, float, float, float]] = field(default_factory=list)
    """Of each file of a mixture: its name, its weight, and its examples and tokens in an epoch."""

    @property
    def length(self) -> float:
        """Mean length of a token's text, in tokens, which determines the cost of attention."""
        return self.squares / self.tokens

    def multiply(self, number: float) -> None:
        for name in ("examples", "tokens", "squares", "stories", "prompt_tokens", "answer_tokens"):
            setattr(self, name, number * getattr(self, name))

    def merge(self, other: TokenCounts) -> None:
        """Add the counts of other data; `source` stays."""
        self.longest = max(self.longest, other.longest)
        for name in (
            "examples",
            "tokens",
            "squares",
            "stories",
            "prompt_tokens",
            "answer_tokens",
            "too_long",
            "unread",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def add(self, lengths: Sequence[float], recipe: Recipe, settings: RecipeSettings) -> None:
        """Count an example with texts of these lengths."""
        if max(lengths) > settings.context:
            self.too_long += 1
            if settings.overlong == "drop":
                return
            if recipe.pieces:
                whole, rest = divmod(lengths[0], settings.context)
                lengths = [settings.context] * int(whole) + [rest] * (rest > 0)
                self.examples += len(lengths) - 1
                self.longest = settings.context
            lengths = [min(length, settings.context) for length in lengths]
        together = max(lengths) if recipe.pieces else sum(lengths)
        self.examples += 1
        self.tokens += sum(lengths)
        self.squares += sum(length**2 for length in lengths)
        self.longest = max(self.longest, math.ceil(together))

    def add_group(self, prompt: float, answer: float, human: float, settings: GroupSettings) -> None:
        """Count the stories of a request. `answer` is the expected length of the policy's, `human` that of the human story, 0 without one."""
        room = settings.context - prompt
        if room <= 1:
            self.too_long += 1
            return
        most = min(settings.sampling.most_tokens, room)
        answer, human = min(answer, most), min(human, room) if settings.human else 0
        stories = settings.group - (human > 0)
        lengths = [prompt + answer] * stories + [prompt + human] * (human > 0)
        self.examples += 1
        self.tokens += sum(lengths)
        self.squares += sum(length**2 for length in lengths)
        self.longest = max(self.longest, math.ceil(prompt + max(most, human)))
        self.stories += stories
        self.prompt_tokens += stories * prompt
        self.answer_tokens += stories * answer


def count_texts(
    recipe: Recipe, settings: RecipeSettings, tokens_per_word: float, answer_words: float = DEFAULT_WORDS
) -> TokenCounts:
    """Count the data files that exist, reading them as streams. Answers of the policy have the length that is asked for, or `answer_words`.

    Raises MendableError for a file that cannot be read.
    """
    found, words, characters, counted = TokenCounts(), 0, 0, 0
    groups = group_settings(recipe, settings)
    existing = [path for path in settings.data if path.is_file()]
    weights: Sequence[float] = getattr(settings, "data_weights", ()) or [1] * len(settings.data)
    for path, weight in zip(settings.data, weights):
        if path not in existing:
            continue
        of_file = TokenCounts()
        for row in _rows(path):
            texts = _request_of(row) if groups else _texts_of(row)
            if not texts:
                of_file.unread += 1
                continue
            sizes = [len(text) for text in texts]
            if counted < COUNTED_ROWS:
                counts: list[float] = [count_words(text) for text in texts]
                words, characters, counted = words + int(sum(counts)), characters + sum(sizes), counted + 1
            else:
                counts = [size * words / max(1, characters) for size in sizes]
            tokens = [max(1, count * tokens_per_word) if size else 0 for count, size in zip(counts, sizes, strict=True)]
            if groups:
                target = row.get("target") or requested_words(texts[0]) or answer_words
                of_file.add_group(tokens[0], target * tokens_per_word, tokens[1], groups)
            else:
                of_file.add(tokens, recipe, settings)
        of_file.multiply(weight)
        found.merge(of_file)
        if getattr(settings, "data_weights", ()):
            found.mixed.append((path.name, weight, of_file.examples, of_file.tokens))
    missing = [str(path) for path in settings.data if path not in existing]
    found.source = f"counted in {', '.join(map(str, existing))}" + (
        f"; missing: {', '.join(missing)}" if missing else ""
    )
    return found


def _rows(path: Path) -> Iterator[Any]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for line in file:
                try:
                    yield json.loads(line)
                except ValueError:
                    yield None
    except (OSError, EOFError, zlib.error) as error:
        raise MendableError(f"{path} cannot be read: {error}.") from None


def _texts_of(row: Any) -> list[str]:
    """Return the text of a story or a conversation, or the two texts of a pair, each with its prompt."""
    if not isinstance(row, dict):
        return []
    if "chosen" in row and "rejected" in row:
        prompt = _text(row.get("prompt"))
        return [prompt + _text(row["chosen"]), prompt + _text(row["rejected"])]
    text = "".join(_text(row.get(name)) for name in _TEXTS)
    return [text] if text else []


def _request_of(row: Any) -> list[str]:
    """Return the request and the human story with its thinking ("" without one); nothing if the row is no request."""
    if not isinstance(row, dict):
        return []
    messages = row.get("messages", row.get("conversations"))
    if not isinstance(messages, list) or not messages:
        asked = "".join(_text(row.get(name)) for name in ("system", "prompt", "instruction", "input"))
        human = "".join(_text(row.get(name)) for name in ("completion", "output"))
    else:
        last = messages[-1]
        answered = isinstance(last, dict) and (
            last.get("role") == "assistant" or last.get("from") in ("gpt", "assistant")
        )
        asked, human = (_text(messages[:-1]), _text(last)) if answered else (_text(messages), "")
    return [asked, _text(row.get("thinking")) + human if human else ""] if asked else []


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "".join(_text(item) for item in value)
    if isinstance(value, dict):
        return "".join(_text(value.get(name)) for name in ("reasoning_content", "thinking", "content", "value", "text"))
    return value + "\n" if isinstance(value, str) else ""
