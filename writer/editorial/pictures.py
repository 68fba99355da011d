"""Small pictures as numbers for an SVG: bars by day, and a line over time. The same numbers stand in a table beside them."""

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
    """A bar for each of the `days` up to `last`; one of `most` fills the height."""
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
    """Values from 0 to 1 from left to right; what is below 0 stands at the bottom."""
    step = WIDTH / max(1, len(values) - 1)
    return [
        Point(round(index * step, 1), round(HEIGHT * (1 - min(1, max(0, value))), 1), f"{name}: {value:.2f}")
        for index, (name, value) in enumerate(values)
    ]
