"""The reward `paraphrase`: a penalty for sentences that say again what an earlier one said.

Runs of words do not show that a text says the same again in other words, which is how LongWriter-Zero's policy came to pad its answers
(recipes.md 2.7). The paper's measure of it is unknown; this one is ours.
"""

from __future__ import annotations

import itertools

import numpy as np

from training.common.text import count_words, paragraphs, sentence_bounds
from training.config.declarations import Answer, Embed, Resources, Reward

ALIKE, LEAST_WORDS = 0.9, 6
"""Sentences whose vectors have this cosine say the same; shorter ones ("He said nothing.") may come again."""


def sentences(text: str) -> list[str]:
    """Those of LEAST_WORDS and more."""
    found: list[str] = []
    for block in paragraphs(text):
        found += [block[first:end].strip() for first, end in itertools.pairwise(sentence_bounds(block))]
    return [one for one in found if count_words(one) >= LEAST_WORDS]


def paraphrased(text: str, embed: Embed, alike: float = ALIKE) -> float:
    """The share of sentences that say what an earlier one said, by the cosine of their vectors; 0 for a text of fewer than two.

    A story of 12,000 words has some 800 sentences, whose cosines are 2.5 MB.
    """
    found = sentences(text)
    if len(found) < 2:
        return 0.0
    vectors_SD = embed(found)
    cosines_SS = np.tril(vectors_SD @ vectors_SD.T, -1)
    return float((cosines_SS.max(axis=1) >= alike).mean())


def score(answer: Answer, given: Resources) -> float:
    return paraphrased(answer.text, given.embeddings)


REWARD = Reward(
    name="paraphrase",
    meaning="Says which share of the sentences repeat in other words what an earlier one said. It is a penalty, so its weight is negative.",
    needs=("embeddings",),
    score=score,
)
