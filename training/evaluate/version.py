"""The report of a version: its metrics compared with the version in service, with intervals.

Both write the same stories (same prompts, lengths and seeds), so each metric is compared story by story: the interval of the
difference is from a paired bootstrap over the stories. A metric with a `tolerance` is guarded by the gate: the version is worse in it if
the whole interval of the difference is beyond the tolerance, on the bad side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from training.common.records import Figure, Interval, LengthBucket, VersionReport
from training.common.sampling import SERVED, Sampling
from training.evaluate import repetition
from training.evaluate.degeneration import words_of
from training.evaluate.lengths import BUCKETS, buckets_for, log_error, slope, table, targets
from training.evaluate.prompts import own_prompts
from training.evaluate.served import Scored, Written

RESAMPLES = 2000
LEAST_CUT = 50
"""Texts are cut to the length of the shortest before repetition is measured, but not below this number of words."""


class Assignment(BaseModel):
    """A story to be written. What has no sampling was stored before there was a record of it."""

    title: str
    premise: str
    target: int
    seed: int
    sampling: Sampling = Sampling(min_p=0.0)


@dataclass(frozen=True)
class Pair:
    """The scores of both texts of a held-out preference."""

    chosen: Scored
    rejected: Scored


def assignments(context: int, *, each: int = 5, seed: int = 1) -> list[Assignment]:
    """`each` stories for each length bucket that fits into the context, on the site's own prompts, sampled as the site serves."""
    prompts = own_prompts()
    return [
        Assignment(
            title=prompt.title, premise=prompt.premise, target=target, seed=seed * 1000 + number, sampling=SERVED
        )
        for number, target in enumerate(targets(buckets_for(context), each))
        for prompt in [prompts[number % len(prompts)]]
    ]


@dataclass
class Facts:
    """The data about one version: its stories, the scores of held-out texts by it and by its parent, and the verbatim overlap of
    each story with its training data."""

    stories: Sequence[Written]
    pairs: Sequence[Pair] = ()
    parent_pairs: Sequence[Pair] = ()
    overlaps: Sequence[float] = ()


def build_report(
    asked: Sequence[Assignment], context: int, own: Facts, beside: Facts | None, *, seed: int = 1
) -> VersionReport:
    random = np.random.default_rng(seed)
    buckets = buckets_for(context)
    targets_ = [one.target for one in asked]
    both = [facts for facts in (own, beside) if facts]
    tables = [
        table(buckets, targets_, [one.words for one in facts.stories], [not one.ended for one in facts.stories])
        for facts in both
    ]
    intervals = [_by_bucket(len(buckets), _places(buckets, targets_), _ratios(facts, targets_)) for facts in both]
    rows = [
        LengthBucket(
            low=row.low,
            high=row.high,
            stories=row.stories,
            ratio=row.ratio,
            interval=intervals[0][number],
            beside=tables[1][number].ratio if beside else None,
            beside_interval=intervals[1][number] if beside else None,
            cut=row.cut,
        )
        for number, row in enumerate(tables[0])
    ]
    figures = [
        *_lengths(buckets, targets_, own, beside, random),
        *_texts(own, beside, random),
        *_judgement(own, beside, random),
    ]
    scaled = buckets[0] not in BUCKETS
    sampling = str(asked[0].sampling)
    return VersionReport(
        stories=len(asked), context=context, scaled=scaled, sampling=sampling, buckets=rows, figures=figures
    )


Values = NDArray[np.float64]
Statistic = Callable[[Values], float]


def _figure(
    name: str,
    what: str,
    better: Literal["higher", "lower", ""],
    own: Sequence[float],
    beside: Sequence[float] | None,
    random: np.random.Generator,
    *,
    tolerance: float | None = None,
    note: str = "",
    statistic: Statistic = lambda values: float(np.mean(values)),
) -> Figure:
    """`own` and `beside` have a value for each story, in the same order, or a row of values, which `statistic` aggregates."""
    if not len(own):
        return Figure(name=name, what=what, better=better, own=None, note=note or "not measured")
    mine = np.asarray(own, dtype=float)
    other = np.asarray(beside, dtype=float) if beside is not None and len(beside) == len(own) else None
    drawn = random.integers(len(mine), size=(RESAMPLES, len(mine)))
    mine_drawn = [statistic(mine[places]) for places in drawn]
    figure = Figure(
        name=name, what=what, better=better, own=_interval(statistic(mine), mine_drawn), tolerance=tolerance, note=note
    )
    if other is not None:
        other_drawn = [statistic(other[places]) for places in drawn]
        figure.beside = _interval(statistic(other), other_drawn)
        figure.change = _interval(
            statistic(mine) - statistic(other), [one - two for one, two in zip(mine_drawn, other_drawn)]
        )
    return figure


def _interval(value: float, drawn: Sequence[float]) -> Interval | None:
    finite = [one for one in drawn if math.isfinite(one)]
    if not math.isfinite(value):
        return None
    if len(finite) < 2:
        return Interval(value=value)
    low, high = np.percentile(finite, [2.5, 97.5]).tolist()
    return Interval(value=value, low=low, high=high)


def _ratios(facts: Facts, asked: Sequence[int]) -> list[float]:
    return [one.words / target for one, target in zip(facts.stories, asked)]


def _places(buckets: Sequence[tuple[int, int]], asked: Sequence[int]) -> list[int]:
    """The number of each one's bucket."""
    last = len(buckets) - 1
    return [next(n for n, (_, high) in enumerate(buckets) if target < high or n == last) for target in asked]


def _by_bucket(buckets: int, places: Sequence[int], ratios: Sequence[float]) -> list[Interval | None]:
    """Of the mean in each bucket, over its stories; None of fewer than two."""
    random = np.random.default_rng(0)
    found: list[Interval | None] = []
    for number in range(buckets):
        inside = [ratio for place, ratio in zip(places, ratios) if place == number]
        if len(inside) < 2:
            found.append(None)
        else:
            drawn = random.choice(inside, size=(RESAMPLES, len(inside))).mean(axis=1)
            found.append(_interval(float(np.mean(inside)), drawn.tolist()))
    return found


def _lengths(
    buckets: Sequence[tuple[int, int]],
    asked: Sequence[int],
    own: Facts,
    beside: Facts | None,
    random: np.random.Generator,
) -> list[Figure]:
    def errors(facts: Facts) -> list[float]:
        return [log_error(target, one.words) for one, target in zip(facts.stories, asked)]

    def steepness(rows: Values) -> float:
        """Of rows (bucket, ratio)."""
        means = [
            float(np.mean(inside)) if len(inside := rows[rows[:, 0] == n, 1]) else None for n in range(len(buckets))
        ]
        found = slope(means)
        return math.nan if found is None else found

    ratios = [_ratios(facts, asked) if facts else None for facts in (own, beside)]
    with_place = [list(zip(_places(buckets, asked), one)) if one else None for one in ratios]
    return [
        _figure("words_ratio", "words got of words asked", "", ratios[0] or [], ratios[1], random),
        _figure(
            "words_error",
            "how far off the length is: mean of |ln(got / asked)|",
            "lower",
            errors(own),
            errors(beside) if beside else None,
            random,
            tolerance=0.1,
        ),
        _figure(
            "words_slope",
            "what one bucket of length more changes in words got of words asked",
            "higher",
            with_place[0] or [],  # type: ignore[arg-type]
            with_place[1],  # type: ignore[arg-type]
            random,
            statistic=steepness,
        ),
        _figure(
            "cut",
            "share of stories that ran into the end of the context",
            "lower",
            [float(not one.ended) for one in own.stories],
            [float(not one.ended) for one in beside.stories] if beside else None,
            random,
            tolerance=0.1,
        ),
    ]


_TEXT_MEASURES: tuple[tuple[str, str, Literal["higher", "lower", ""], float | None], ...] = (
    ("repeated_2", "rep-2: pairs of words that come again in a story", "lower", None),
    ("repeated_3", "rep-3", "lower", None),
    ("repeated_4", "rep-4: phrases of four words that come again in a story", "lower", 0.02),
    ("diversity", "diversity: the product of 1 - rep-n", "higher", None),
    ("types_in_500_words", "MATTR: different words in windows of 500", "higher", None),
    ("compression", "gzip's compression ratio: human prose 2.2 to 2.6", "lower", None),
)


def _texts(own: Facts, beside: Facts | None, random: np.random.Generator) -> list[Figure]:
    both = [facts for facts in (own, beside) if facts]
    shortest = min((one.words for facts in both for one in facts.stories), default=0)
    cut = max(shortest, LEAST_CUT)
    measured = [[repetition.measures(one.text, cut) for one in facts.stories] for facts in both]
    note = f"of the first {cut:,} words of each story"
    found = [
        _figure(
            name,
            what,
            better,
            [one[name] for one in measured[0]],
            [one[name] for one in measured[1]] if beside else None,
            random,
            tolerance=tolerance,
            note=note,
        )
        for name, what, better, tolerance in _TEXT_MEASURES
    ]
    words = [[words_of(one.text)[:cut] for one in facts.stories] for facts in both]
    for name, what, better, statistic in (
        ("distinct_2", "distinct-2 over all stories together", "higher", lambda texts: repetition.distinct(texts, 2)),
        ("self_bleu_4", "self-BLEU-4: how much the stories are alike", "lower", repetition.self_bleu),
    ):
        values = [Interval(value=statistic(texts)) for texts in words]
        found.append(
            Figure(
                name=name,
                what=what,
                better=better,
                own=values[0],
                beside=values[1] if beside else None,
                note=f"{note}; of all stories at once, so without an interval",
            )
        )
    found.append(
        _figure(
            "overlap",
            "share of words in runs of 13 and more that stand word for word in what it learned from",
            "lower",
            own.overlaps,
            beside.overlaps if beside and beside.overlaps else None,
            random,
            tolerance=0.02,
            note="" if len(own.overlaps) else "not measured: the site does not have what it learned from",
        )
    )
    return found


def _judgement(own: Facts, beside: Facts | None, random: np.random.Generator) -> list[Figure]:
    none = "" if own.pairs else "not measured: no held-out pairs"

    def prefers(facts: Facts) -> list[float]:
        return [
            float(pair.chosen.nats / pair.chosen.tokens < pair.rejected.nats / pair.rejected.tokens)
            for pair in facts.pairs
        ]

    def moved(facts: Facts) -> list[float]:
        return [
            float((before.chosen.nats - after.chosen.nats) > (before.rejected.nats - after.rejected.nats))
            for after, before in zip(facts.pairs, facts.parent_pairs)
        ]

    def perplexity(rows: Values) -> float:
        """Of rows (nats, words)."""
        return float(np.exp(np.sum(rows[:, 0]) / max(np.sum(rows[:, 1]), 1)))

    def chosen(facts: Facts) -> list[tuple[float, int]]:
        return [(pair.chosen.nats, pair.chosen.words) for pair in facts.pairs]

    others = beside if beside and len(beside.pairs) == len(own.pairs) else None
    return [
        _figure(
            "prefers",
            "share of held-out pairs in which the preferred text is the likelier one, token by token",
            "higher",
            prefers(own),
            prefers(others) if others else None,
            random,
            tolerance=0.1,
            note=none,
        ),
        _figure(
            "moved",
            "share of held-out pairs in which it moved towards the preferred text, from the version it was made from",
            "higher",
            moved(own),
            None,
            random,
            note=none or ("" if len(own.parent_pairs) else "not measured: it was not made from another version"),
        ),
        _figure(
            "perplexity",
            "perplexity per word of held-out preferred texts",
            "lower",
            chosen(own),  # type: ignore[arg-type]
            chosen(others) if others else None,  # type: ignore[arg-type]
            random,
            statistic=perplexity,
            note=none,
        ),
    ]
