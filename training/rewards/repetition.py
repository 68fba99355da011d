"""The reward `repetition`: POLARIS' penalty for a text that repeats itself, by runs of four tokens and by lines."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from training.config.declarations import Answer, Resources, Reward
from training.evaluate.repetition import ngrams
from training.rewards.counts import polaris_tokens

RUN, WINDOW = 4, 64
"""Tokens of a run, and the distance in runs that counts as near."""
FREE = 0.08
"""The share of repeated runs that a good story may have."""


def repeated_runs(tokens: Sequence[str]) -> tuple[float, float]:
    """The share of repeated runs, and of those repeated within the last WINDOW runs.

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
    """The share of repeated lines. Blank lines do not count; spaces and capitals make no difference."""
    lines = [" ".join(line.split()).lower() for line in text.splitlines() if line.strip()]
    return 1 - len(set(lines)) / len(lines) if lines else 0.0


def polaris_repetition(text: str) -> float:
    """POLARIS' self-repetition, from 0 to 1.5.

    0.8 (0.7 max(0, all - 0.08) + 0.3 near) + 0.4 lines, where `all` and `near` are `repeated_runs` and `lines` is `repeated_lines`.
    """
    everywhere, near = repeated_runs(polaris_tokens(text))
    return min(1.5, 0.8 * (0.7 * max(0.0, everywhere - FREE) + 0.3 * near) + 0.4 * repeated_lines(text))


def score(answer: Answer, given: Resources) -> float:  # noqa: ARG001
    return polaris_repetition(answer.text)


REWARD = Reward(
    name="repetition",
    meaning="Says how much the story repeats itself, from 0 to 1.5. It is a penalty, so its weight is negative.",
    score=score,
)
