"""A curve over the steps of a run as a small SVG, readable without colours, scripts or a mouse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 480, 256
LEFT, RIGHT, TOP, BOTTOM = 62, 456, 12, 216


@dataclass(slots=True)
class Curve:
    """Values by rising steps; some may be no finite numbers."""

    name: str
    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, step: int, value: float) -> None:
        """A run that was killed repeats steps after its last checkpoint: what it says then counts, from there on."""
        while self.steps and self.steps[-1] >= step:
            self.steps.pop()
            self.values.pop()
        self.steps.append(step)
        self.values.append(value)

    @property
    def finite(self) -> list[float]:
        return [value for value in self.values if math.isfinite(value)]


Point = tuple[int, float]


@dataclass(slots=True)
class Thinned:
    """What is drawn of a curve: lines without their gaps, means if points were left out, and steps whose value is no number."""

    lines: list[list[Point]]
    means: list[list[Point]]
    holes: list[int]


def thin(curve: Curve, most: int) -> Thinned:
    """At most about `most` points. Of each run of neighbours the first, the lowest, the highest and the last are kept, so that a
    spike of one step is never hidden.

    >>> curve = Curve("loss", list(range(1000)), [1.0] * 500 + [9.0] + [1.0] * 499)
    >>> max(value for line in thin(curve, 40).lines for _, value in line)
    9.0
    """
    count = len(curve.steps)
    size = max(1, math.ceil(4 * count / most)) if count > most else 1
    lines: list[list[Point]] = [[]]
    means: list[list[Point]] = [[]]
    holes: list[int] = []
    for start in range(0, count, size):
        part = list(zip(curve.steps[start : start + size], curve.values[start : start + size]))
        good = [point for point in part if math.isfinite(point[1])]
        if good:
            low, high = min(good, key=lambda point: point[1]), max(good, key=lambda point: point[1])
            lines[-1] += sorted({good[0], low, high, good[-1]})
            middle = good[len(good) // 2][0]
            means[-1].append((middle, math.fsum(value / len(good) for _, value in good)))
        if len(good) < len(part):
            holes.append(next(step for step, value in part if not math.isfinite(value)))
            if lines[-1]:
                lines.append([])
                means.append([])
    return Thinned([line for line in lines if line], [line for line in means if line] if size > 1 else [], holes)


def short(value: float) -> str:
    """A number in few letters.

    >>> [short(x) for x in (0, 2.3456, 0.00002, 8192, 123456, 3.2e9, -0.5, float("nan"))]
    ['0', '2.346', '2e-05', '8,192', '123.5k', '3.2G', '-0.5', 'not a number']
    """
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite" if value > 0 else "minus infinite"
    size = abs(value)
    if size >= 1e15:
        return f"{value:.3g}"
    for unit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= unit:
            unit = 1e3 if letter == "k" else unit
            return f"{value / unit:.4g}{letter}"
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def round_ticks(low: float, high: float, about: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from `low` to `high`.

    >>> round_ticks(0.13, 2.7, 5)
    [0.5, 1.0, 1.5, 2.0, 2.5]
    """
    rough = (high - low) / about
    if not rough > 0 or not math.isfinite(rough):
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((unit * power for unit in (1, 2, 5) if unit * power >= rough * 0.7), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [
        round(number * step, 12 - math.floor(math.log10(step)))
        for number in range(first, math.floor(high / step + 1e-9) + 1)
    ]


@dataclass(frozen=True, slots=True)
class Axis:
    """From values to places on the page."""

    low: float
    high: float
    begin: float
    end: float
    powers: bool = False

    def place(self, value: float) -> float:
        value, low, high = (math.log10(one) if self.powers else one for one in (value, self.low, self.high))
        # Halves, because the difference of two great numbers may be too great for a number.
        share = (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5
        return self.begin + (self.end - self.begin) * share

    def ticks(self, about: int) -> list[float]:
        if not self.powers:
            return round_ticks(self.low, self.high, about)
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        every = max(1, math.ceil((last - first) / about))
        return [10.0**power for power in range(first, last + 1, every)]


def value_axis(values: Sequence[float]) -> Axis:
    """Powers of ten where positive values span more than three of them; a little room above and below otherwise."""
    low, high = min(values), max(values)
    if low > 0 and high / low > 1000:
        return Axis(low, high, BOTTOM, TOP, powers=True)
    room = (high / 2 - low / 2) * 0.1 or abs(high) * 0.1 or 1.0
    under, over = low - room, high + room
    if low >= 0 > under:  # nothing below nothing
        under = 0.0
    return Axis(max(under, -1.7e308), min(over, 1.7e308), BOTTOM, TOP)


def svg(number: int, curves: Sequence[Curve], points: int, resumed: Sequence[int] = ()) -> str:
    """One figure; its curves share the axes. At least one of them has a finite value."""
    values = [value for curve in curves for value in curve.finite]
    first = min(curve.steps[0] for curve in curves)
    last = max(curve.steps[-1] for curve in curves)
    across, up = Axis(first, last, LEFT, RIGHT), value_axis(values)
    described = "; ".join(
        f"{curve.name} from {short(curve.finite[0])} to {short(curve.finite[-1])}, between {short(min(curve.finite))} and "
        f"{short(max(curve.finite))}"
        for curve in curves
        if curve.finite
    )
    scale = ", on a scale of powers of ten" if up.powers else ""
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="t{number} d{number}">',
        f'<title id="t{number}">{escape(curves[0].name)} over the steps</title>',
        f'<desc id="d{number}">Steps {first:,} to {last:,}{scale}: {escape(described)}.</desc>',
    ]
    for tick in up.ticks(5):
        y = up.place(tick)
        parts.append(
            f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/><text x="{LEFT - 6}" y="{y + 4:.1f}" class="end">{_tick(tick)}</text>'
        )
    for tick in across.ticks(5) if last > first else [float(first)]:
        if tick == int(tick):
            x = across.place(tick)
            parts.append(
                f'<path class="grid" d="M{x:.1f} {BOTTOM}v5"/><text x="{x:.1f}" y="{BOTTOM + 19}" class="mid">{_tick(tick)}</text>'
            )
    parts.append(
        f'<text x="{RIGHT}" y="{HEIGHT - 4}" class="end">step</text><path class="axis" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>'
    )
    for step in resumed:
        if first < step <= last:
            x = across.place(step)
            parts.append(
                f'<path class="resumed" d="M{x:.1f} {TOP}V{BOTTOM}"><title>gone on from here, step {step:,}</title></path>'
            )
    for place, curve in enumerate(curves):
        parts.append(_drawn(curve, f"c{place}", across, up, points))
    return "\n".join([*parts, "</svg>"])


def _tick(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e4 else short(value)


def _drawn(curve: Curve, kind: str, across: Axis, up: Axis, most: int) -> str:
    found = thin(curve, most)
    parts: list[str] = []

    def line(points: list[Point], style: str) -> str:
        return (
            f'<polyline class="{style}" points="'
            + " ".join(f"{across.place(x):.1f},{up.place(y):.1f}" for x, y in points)
            + '"/>'
        )

    parts += [line(points, f"{kind} raw" if found.means else kind) for points in found.lines if len(points) > 1]
    parts += [line(points, kind) for points in found.means if len(points) > 1]
    every = [point for points in found.lines for point in points]
    alone = {points[0] for points in found.lines if len(points) == 1}
    step = max(1, len(every) * 6 // most)
    highest, lowest = max(every, key=_value, default=None), min(every, key=_value, default=None)
    for place, (x, y) in enumerate(every):
        seen = len(every) <= 40 or (x, y) in alone
        if seen or place % step == 0 or (x, y) in (highest, lowest) or place == len(every) - 1:
            style = f"{kind} dot" if seen else "spot"
            parts.append(
                f'<circle class="{style}" cx="{across.place(x):.1f}" cy="{up.place(y):.1f}" r="{2.5 if seen else 6}">'
                f"<title>step {x:,}: {escape(curve.name)} {short(y)}</title></circle>"
            )
    for x in found.holes[:200]:
        parts.append(
            f'<text class="{kind} hole" x="{across.place(x):.1f}" y="{BOTTOM - 4}">×<title>{escape(curve.name)} is no number at step {x:,}'
            "</title></text>"
        )
    return "\n".join(parts)


def _value(point: Point) -> float:
    return point[1]
