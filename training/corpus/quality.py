"""The learned filter: a logistic regression over `training.corpus.features`, for English.

Its file is made by `python -m training.corpus.learn_quality CORPUS`, which also measures it. Texts in other languages pass; only the
language-independent rules apply to them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from training.corpus.features import FEATURES, Floats, Tables, features
from training.corpus.profile import Profile

WEIGHTS = Path(__file__).with_name("quality.npz")
CLIPPED = 4.0  # standard deviations: no single feature can reject a text


class Filter(NamedTuple):
    tables: Tables
    mean: Floats
    scale: Floats
    weights: Floats
    bias: float


class Quality(NamedTuple):
    """`story` is the probability that the text is a story, `because` describes the features that count most against it."""

    story: float
    because: str


@cache
def load(path: Path = WEIGHTS) -> Filter:
    """Read the filter. Raises ValueError if the file is for other features."""
    with np.load(path) as file:
        vocabulary = {word: rank for rank, word in enumerate(str(file["vocabulary"]).split())}
        classes = {word: number for number, word in enumerate(str(file["classes"]).split())}
        pairs = (file["letter_pairs"] / 8.0, file["word_pairs"] / 16.0, file["words_apart"] / 16.0)
        tables = Tables(vocabulary, classes, *pairs)
        if str(file["features"]).split("|") != list(FEATURES):
            raise ValueError(
                f"{path.name} was made for other features; make it again with training.corpus.learn_quality."
            )
        return Filter(tables, file["mean"], file["scale"], file["weights"], float(file["bias"]))


def standardised(row: Floats, mean: Floats, scale: Floats) -> Floats:
    """(features,): z-scores, clipped."""
    return np.clip((row - mean) / scale, -CLIPPED, CLIPPED)


def assess_quality(profile: Profile, learned: Filter | None = None) -> Quality:
    """The probability that an English text is a story, and the main reasons against it."""
    if not profile.english:
        return Quality(1.0, "")
    learned = learned or load()
    z = standardised(features(profile, learned.tables), learned.mean, learned.scale)
    contributions = z * learned.weights
    logit = float(contributions.sum()) + learned.bias
    worst = [int(place) for place in np.argsort(contributions)[:3] if contributions[place] < -0.5]
    names = list(FEATURES)
    because = ", ".join(FEATURES[names[p]].high if z[p] > 0 else FEATURES[names[p]].low for p in worst)
    return Quality(1 / (1 + float(np.exp(-np.clip(logit, -50, 50)))), because)
