"""The form of an answer: a text that is none, and LongWriter-Zero's thinking before the answer.

<think>plan and second thoughts</think>
<answer>the text</answer>
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

import regex

from training.rewards.counts import polaris_words
from training.text import Message

LEAST_VISIBLE, LEAST_WORDS = 0.10, 150
_FORM = regex.compile(r"\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*", regex.DOTALL)
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")

THINK = (
    "Before you write, think it through between <think> and </think>. Ask yourself what whoever asked for this wants and does not say; what the piece "
    "is for, and who reads it; how long it has to be, and how that length is shared out among its parts. Plan it. Look at the plan for coherence, "
    "clarity, style and tone, find what is weak in it, and mend it. Then write the whole piece, and nothing else, between <answer> and </answer>."
)
DIRECT = "Write the whole piece, and nothing else, between <answer> and </answer>."
"""Our words for what the paper's two prompts ask (recipes.md 2.3)."""


class Parts(NamedTuple):
    thinking: str
    text: str


def thinking_prompt(messages: list[Message], *, think: bool = True) -> list[Message]:
    """The request with what LongWriter-Zero asks of the form of its answer, or with its variant without thinking."""
    return [{"role": "system", "content": THINK if think else DIRECT}, *messages]


def parts(answer: str) -> Parts:
    """The thinking and the text of an answer, whatever its form.

    What stands before the last </think> is thinking. A <think> that nothing closes hides nothing: the whole answer is the text then, as in
    POLARIS (recipes.md 1.4). Tags about the text are taken off.
    """
    before, closed, after = answer.rpartition("</think>")
    thinking = before.partition("<think>")[2] if "<think>" in before else before
    text = after if closed else answer
    opened = text.partition("<answer>")
    text = opened[2] if opened[1] else text
    return Parts(
        thinking.strip() if closed else "",
        text.removesuffix("\n").rpartition("</answer>")[0].strip() if "</answer>" in text else text.strip(),
    )


def longwriter_form(answer: str) -> float:
    """1 for exactly one <think> part and, after it, exactly one <answer> part, with nothing about them; 0 for all else (recipes.md 2.2)."""
    once = all(answer.count(tag) == 1 for tag in _TAGS)
    found = _FORM.fullmatch(answer) if once else None
    return float(bool(found and found.group(2).strip()))


def polaris_blank(text: str) -> float:
    r"""1 for a text of fewer than 150 words (by `\w+`), or of which less than a tenth of the characters are seen; else 0 (recipes.md 1.5)."""
    seen = sum(not (letter.isspace() or unicodedata.category(letter).startswith("C")) for letter in text)
    return float(not text or seen / len(text) < LEAST_VISIBLE or polaris_words(text) < LEAST_WORDS)
