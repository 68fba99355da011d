"""The form of an answer: a text that is none, and LongWriter-Zero's thinking before the answer.

<think>plan and second thoughts</think>
<answer>the text</answer>
"""

from __future__ import annotations

import unicodedata

import regex

from training.rewards.counts import polaris_words

LEAST_VISIBLE, LEAST_WORDS = 0.10, 150
_FORM = regex.compile(r"\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*", regex.DOTALL)
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def longwriter_form(answer: str) -> float:
    """1 for exactly one <think> part and, after it, exactly one <answer> part, with nothing about them; 0 for all else (recipes.md 2.2)."""
    once = all(answer.count(tag) == 1 for tag in _TAGS)
    found = _FORM.fullmatch(answer) if once else None
    return float(bool(found and found.group(2).strip()))


def polaris_blank(text: str) -> float:
    r"""1 for a text of fewer than 150 words (by `\w+`), or of which less than a tenth of the characters are seen; else 0 (recipes.md 1.5)."""
    seen = sum(not (letter.isspace() or unicodedata.category(letter).startswith("C")) for letter in text)
    return float(not text or seen / len(text) < LEAST_VISIBLE or polaris_words(text) < LEAST_WORDS)
