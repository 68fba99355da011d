"""Coordinates of small SVG charts: bars by day, and a line over time. The numbers are also in a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

WIDTH, HEIGHT = 720, 120


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    title: str


def bars(numbers: dict[date, int], last: date, days: int, most: int) -> list[Bar]:
    """A bar for each of the `days` up to `last`; the value `most` has the full height."""
    most = max(most, 1)
    step = WIDTH / days
    found = []
    for index in range(days):
        day = last - timedelta(days=days - 1 - index)
        number = numbers.get(day, 0)
        height = round(HEIGHT * number / most, 1)
        found.append(
            Bar(round(index * step, 1), HEIGHT - height, round(step * 0.8, 1), height, f"{day:%-d %b}: {number}")
        )
    return found


def line(values: Sequence[tuple[str, float]]) -> list[Point]:
    """A line of values from 0 to 1, from left to right; values below 0 are drawn at the bottom."""
    step = WIDTH / max(1, len(values) - 1)
    return [
        Point(round(index * step, 1), round(HEIGHT * (1 - min(1, max(0, value))), 1), f"{name}: {value:.2f}")
        for index, (name, value) in enumerate(values)
    ]
