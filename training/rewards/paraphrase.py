"""The reward `paraphrase`: a penalty for sentences that repeat the content of an earlier one.

Repeated runs of words do not detect content that is repeated in other words, with which LongWriter-Zero's policy padded its answers.
The paper's measure is unknown; this one is our own.
"""

from __future__ import annotations

import itertools

import numpy as np

from training.common.text import count_words, paragraphs, sentence_bounds
from training.config.declarations import Answer, Embed, Resources, Reward

ALIKE, LEAST_WORDS = 0.9, 6
"""Cosine from which sentences count as the same, and the words below which sentences ("He said nothing.") may be repeated."""


def sentences(text: str) -> list[str]:
    """The sentences with at least LEAST_WORDS words."""
    found: list[str] = []
    for block in paragraphs(text):
        found += [block[first:end].strip() for first, end in itertools.pairwise(sentence_bounds(block))]
    return [one for one in found if count_words(one) >= LEAST_WORDS]


def paraphrased(text: str, embed: Embed, alike: float = ALIKE) -> float:
    """The share of sentences that repeat an earlier one, by the cosine of their vectors; 0 for fewer than two sentences.

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
