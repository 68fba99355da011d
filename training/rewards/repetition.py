"""How much a text repeats itself: POLARIS' penalty by runs of four tokens and by lines, and one by sentences of the same meaning.

Runs of words do not see a text that says the same again in other words, which is how LongWriter-Zero's policy came to pad its answers
(recipes.md 2.7). The paper's measure of it is unknown; `paraphrased` is ours.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from training.common.text import count_words, paragraphs, sentence_bounds
from training.evaluate.repetition import ngrams
from training.rewards.counts import polaris_tokens

RUN, WINDOW = 4, 64
"""Tokens of a run, and how many runs back it counts as near."""
FREE = 0.08
"""Of the runs may have stood before, in any good story."""
ALIKE, LEAST_WORDS = 0.9, 6
"""Sentences whose vectors have this cosine say the same; shorter ones ("He said nothing.") may come again."""

Vectors = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]
"""Sentences to vectors, [S, D], of length 1, or 0 for one of which nothing is known."""


def repeated_runs(tokens: Sequence[str]) -> tuple[float, float]:
    """The share of runs that stood before, and of those that stood before within the last WINDOW runs.

    Both are 0 for a text of fewer than four tokens.
    """
    runs = ngrams(tokens, RUN)
    if not runs:
        return 0.0, 0.0
    near: deque[tuple[str, ...]] = deque(maxlen=WINDOW)
    inside: Counter[tuple[str, ...]] = Counter()
    again = 0
    for run in runs:
        again += inside[run] > 0
        if len(near) == WINDOW:
            inside[near[0]] -= 1
        near.append(run)
        inside[run] += 1
    return 1 - len(set(runs)) / len(runs), again / len(runs)


def repeated_lines(text: str) -> float:
    """The share of lines that stood before; blank ones are none, and how a line is spaced or capitalised does not matter."""
    lines = [" ".join(line.split()).lower() for line in text.splitlines() if line.strip()]
    return 1 - len(set(lines)) / len(lines) if lines else 0.0


def polaris_repetition(text: str) -> float:
    """POLARIS' self-repetition, from 0 to 1.5 (recipes.md 1.5).

    0.8 (0.7 max(0, all - 0.08) + 0.3 near) + 0.4 lines, where `all` and `near` are `repeated_runs` and `lines` is `repeated_lines`.
    """
    everywhere, near = repeated_runs(polaris_tokens(text))
    return min(1.5, 0.8 * (0.7 * max(0.0, everywhere - FREE) + 0.3 * near) + 0.4 * repeated_lines(text))


def sentences(text: str) -> list[str]:
    """Of LEAST_WORDS and more."""
    found: list[str] = []
    for block in paragraphs(text):
        found += [block[first:end].strip() for first, end in itertools.pairwise(sentence_bounds(block))]
    return [one for one in found if count_words(one) >= LEAST_WORDS]


def paraphrased(text: str, embed: Embed, alike: float = ALIKE) -> float:
    """The share of sentences that say what an earlier one said, by their vectors' cosine; 0 for a text of fewer than two.

    A story of 12,000 words has some 800 sentences, whose cosines are 2.5 MB.
    """
    found = sentences(text)
    if len(found) < 2:
        return 0.0
    vectors_SD = embed(found)
    cosines_SS = np.tril(vectors_SD @ vectors_SD.T, -1)
    return float((cosines_SS.max(axis=1) >= alike).mean())
