"""How many tokens some data files hold, near enough for a plan: from words, without a tokenizer."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.common.errors import MendableError
from training.common.text import count_words, words_asked
from training.config.declarations import GroupSettings, Recipe, of_groups
from training.config.recipe import RecipeSettings

WORDS = 4500.0
"""Of a text, where nothing is known: a story of some 6,000 tokens."""
COUNTED = 2000
"""Rows whose words are counted; of the rest the characters are, and the words taken to be as many by character."""


@dataclass(slots=True)
class Texts:
    """The tokens of the data by the settings' rules: examples (a text, or a pair of two), all tokens, and the longest example.

    `squares` is the sum of squared lengths: a token's text is squares / tokens long on average, which is what attention costs.
    Where an example is a group, `stories` are what the policy writes in all of them, with the tokens `asked` and `written` for it.
    """

    examples: float = 0
    tokens: float = 0
    squares: float = 0
    longest: int = 0
    stories: float = 0
    asked: float = 0
    written: float = 0
    too_long: int = 0
    unread: int = 0
    source: str = ""

    @property
    def length(self) -> float:
        """Of a text, by the token."""
        return self.squares / self.tokens

    def multiply(self, number: int) -> None:
        """As if there were so many like these."""
        for name in ("examples", "tokens", "squares", "stories", "asked", "written"):
            setattr(self, name, number * getattr(self, name))

    def add(self, lengths: Sequence[float], recipe: Recipe, settings: RecipeSettings) -> None:
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
        """The stories of a request. What the policy writes may be longer than `answer`, but not than `most_tokens`; `human` is 0 where there is none."""
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
        self.asked += stories * prompt
        self.written += stories * answer


def count_texts(
    recipe: Recipe, settings: RecipeSettings, tokens_per_word: float, words_of_answers: float = WORDS
) -> Texts:
    """From the data files that are there, read as a stream. Answers that are still to be written are as long as was asked, or `words_of_answers`."""
    found, words, letters = Texts(), 0, 0
    groups = of_groups(recipe, settings)
    there = [path for path in settings.data if path.is_file()]
    for path in there:
        for row in _rows(path):
            texts = _request_of(row) if groups else _texts_of(row)
            if not texts:
                found.unread += 1
                continue
            sizes = [len(text) for text in texts]
            if found.examples < COUNTED:
                counts: list[float] = [count_words(text) for text in texts]
                words, letters = words + int(sum(counts)), letters + sum(sizes)
            else:
                counts = [size * words / max(1, letters) for size in sizes]
            tokens = [max(1, count * tokens_per_word) if size else 0 for count, size in zip(counts, sizes, strict=True)]
            if groups:
                target = row.get("target") or words_asked(texts[0]) or words_of_answers
                found.add_group(tokens[0], target * tokens_per_word, tokens[1], groups)
            else:
                found.add(tokens, recipe, settings)
    missing = [str(path) for path in settings.data if path not in there]
    found.source = f"counted in {', '.join(map(str, there))}" + (
        f"; not there: {', '.join(missing)}" if missing else ""
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
    """The text of a story or a conversation, or the two of a pair, each with its prompt."""
    if not isinstance(row, dict):
        return []
    if "chosen" in row and "rejected" in row:
        prompt = _text(row.get("prompt"))
        return [prompt + _text(row["chosen"]), prompt + _text(row["rejected"])]
    text = "".join(_text(row.get(name)) for name in ("prompt", "messages", "completion", "text"))
    return [text] if text else []


def _request_of(row: Any) -> list[str]:
    """What is asked, and the human story with what leads to it, or nothing."""
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list) or not messages:
        return []
    answered = isinstance(messages[-1], dict) and messages[-1].get("role") == "assistant"
    human = _text(row.get("thinking")) + _text(messages[-1]) if answered else ""
    asked = _text(messages[:-1] if answered else messages)
    return [asked, human] if asked else []


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "".join(_text(item) for item in value)
    if isinstance(value, dict):
        return _text(value.get("content", value.get("text")))
    return value + "\n" if isinstance(value, str) else ""
