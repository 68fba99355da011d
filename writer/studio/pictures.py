"""The report of a version as coordinates for SVG charts. The numbers are also in tables; older reports lack some intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LEFT, RIGHT, TOP, BOTTOM = 44, 712, 28, 216
"""Of the chart of lengths, in its 720 times 260."""
APART = 8
"""Distance from the middle of a bucket to each of its two dots."""
LEAST_TOP = 1.5
STEPS = (0.25, 0.5, 1, 2, 5)
STRIP = 160


@dataclass(frozen=True)
class Dot:
    """A dot, with an optional error bar from `high` to `low`."""

    x: float
    y: float
    title: str
    high: float | None = None
    low: float | None = None


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Lengths:
    """Written to requested words, by length. `one` is the height of the ratio 1."""

    own: list[Dot]
    beside: list[Dot]
    x: list[Tick]
    y: list[Tick]
    one: float
    described: str


@dataclass(frozen=True)
class Strip:
    """A difference on its own scale: 0 is in the middle, `tolerance` on the bad side."""

    dot: float
    low: float | None
    high: float | None
    tolerance: float | None
    zero: float = STRIP / 2


def lengths(report: dict[str, Any]) -> Lengths | None:
    buckets = report.get("buckets") or []
    highest = [
        value
        for row in buckets
        for ratio, interval in _both(row)
        for value in (ratio, (interval or {}).get("high"))
        if value is not None
    ]
    if not highest:
        return None
    step = next((one for one in STEPS if max(highest) <= 6 * one), max(highest) / 4)
    top = max(LEAST_TOP, math.ceil(max(highest) / step) * step)

    def height(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * value / top, 1)

    wide = (RIGHT - LEFT) / len(buckets)
    drawn: tuple[list[Dot], list[Dot]] = ([], [])
    for number, row in enumerate(buckets):
        for dots, side, name, (ratio, interval) in zip(drawn, (-1, 1), ("", ", beside it"), _both(row)):
            if ratio is None:
                continue
            low, high = (interval or {}).get("low"), (interval or {}).get("high")
            said = f"{_asked(row)} words{name}: {ratio:.2f}"
            if low is not None and high is not None:
                said += f" ({low:.2f} to {high:.2f})"
            x = round(LEFT + wide * (number + 0.5) + side * APART, 1)
            top_, bottom = (None, None) if low is None or high is None else (height(high), height(low))
            dots.append(Dot(x, height(ratio), said, top_, bottom))
    own, beside = drawn
    return Lengths(
        own,
        beside,
        [Tick(round(LEFT + wide * (number + 0.5), 1), _asked(row)) for number, row in enumerate(buckets)],
        [Tick(height(number * step), f"{number * step:g}") for number in range(round(top / step) + 1)],
        height(1.0),
        "; ".join(dot.title for dot in (*own, *beside)) + ".",
    )


def _both(row: dict[str, Any]) -> Sequence[tuple[float | None, dict[str, Any] | None]]:
    return (row.get("ratio"), row.get("interval")), (row.get("beside"), row.get("beside_interval"))


def _asked(row: dict[str, Any]) -> str:
    return f"{row['low']:,} to {row['high']:,}"


def strip(figure: dict[str, Any]) -> Strip | None:
    change = figure.get("change")
    if not change:
        return None
    tolerance = figure.get("tolerance")
    bad = tolerance if tolerance is None or figure.get("better") == "lower" else -tolerance
    low, high = change.get("low"), change.get("high")
    most = max(abs(value) for value in (change["value"], low, high, bad) if value is not None) or 1.0

    def place(value: float) -> float:
        return round(STRIP / 2 + value / most * (STRIP / 2 - 6), 1)

    def placed(value: float | None) -> float | None:
        return None if value is None else place(value)

    return Strip(place(change["value"]), placed(low), placed(high), placed(bad))
