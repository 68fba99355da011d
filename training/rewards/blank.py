"""The reward `blank`: POLARIS' penalty for empty and very short texts."""

from __future__ import annotations

import unicodedata

from training.config.declarations import Answer, Resources, Reward
from training.rewards.counts import polaris_words

LEAST_VISIBLE, LEAST_WORDS = 0.10, 150


def polaris_blank(text: str) -> float:
    r"""1 for a text of fewer than 150 words (by `\w+`), and for one of which less than a tenth of the characters are visible; otherwise 0."""
    visible = sum(not (letter.isspace() or unicodedata.category(letter).startswith("C")) for letter in text)
    return float(not text or visible / len(text) < LEAST_VISIBLE or polaris_words(text) < LEAST_WORDS)


def score(answer: Answer, given: Resources) -> float:  # noqa: ARG001
    return polaris_blank(answer.text)


REWARD = Reward(
    name="blank",
    meaning="It is 1 for fewer than 150 words, and otherwise 0. It is a penalty, so its weight is negative.",
    score=score,
)
