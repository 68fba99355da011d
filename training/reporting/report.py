"""`python -m training report RUN`: a page with the curves of a run, for whoever has no site at hand.

One file that fetches nothing and runs nothing: it can be sent, printed and kept. Everything that comes from the run is escaped.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from training.common.errors import MendableError
from training.common.records import Ended, Interval, ModelSaved, PrincipleAccuracy
from training.common.redaction import redact
from training.reporting.charts import Curve, short, svg
from training.reporting.history import Line, RunHistory, read_history
from training.reporting.style import STYLE

_LEARNED = TypeAdapter(list[PrincipleAccuracy])
FIGURES = 60
POINTS = 20_000
"""Of all figures together: some 15 bytes each, and a page is to stay below a megabyte."""
LINES = 400
"""Of the log: half from its beginning, half from its end."""
LETTERS = 1000
"""Of one line of the log."""
FIRST = ("loss", "reward", "accuracy", "margin", "learning_rate", "grad_norm", "tokens_per_second", "memory")
"""What a person looks for first; names that begin so come in this order, the others after them."""
QUIET = 1800
"""Seconds without an event after which a run without an end is not taken to be at work."""


def write_report(run: Path) -> Path:
    """Write `report.html` into the folder of a run, whether it is over or not."""
    if not run.is_dir():
        raise MendableError(f"There is no folder {run}: name the folder of a run.")
    history = read_history(run / "events.jsonl")
    try:
        settings = (run / "settings.json").read_text(encoding="utf-8", errors="replace")
    except OSError:
        settings = ""
    path, new = run / "report.html", run / ".report.html"
    html = page(run.resolve().name, history, settings, time.time(), read_learned(run))
    new.write_text(html, encoding="utf-8", errors="replace")
    new.replace(path)  # who looks at the page meanwhile sees a whole one
    return path


def read_learned(run: Path) -> list[PrincipleAccuracy]:
    """What a run reported of principles; nothing where it reported nothing that can be read."""
    try:
        return _LEARNED.validate_json((run / "principles.json").read_bytes())
    except (OSError, ValidationError):
        return []


def page(name: str, history: RunHistory, settings: str, now: float, learned: Sequence[PrincipleAccuracy] = ()) -> str:
    recipe = _recipe(settings)
    title = f"{name}, {recipe}" if recipe and recipe != name.replace("_", " ") else name
    sections = [
        ("Curves", _figures(history)),
        ("What it learned of principles", _learned(learned)),
        ("Last values", _values(history)),
        ("Where the time went", _phases(history)),
        ("Log", _log(history)),
        ("Settings as used", f"<pre>{escape(redact(settings)[:50_000])}</pre>" if settings else ""),
    ]
    body = "\n".join(f"<section><h2>{heading}</h2>\n{html}</section>" for heading, html in sections if html)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header><h1>{escape(title)}</h1>
{_state(history, now)}
</header>
<main>
{body}
</main>
</body>
</html>
"""


def _recipe(settings: str) -> str:
    try:
        return str(json.loads(settings).get("recipe", "")).replace("_", " ")[:100]
    except (ValueError, AttributeError, RecursionError):
        return ""


def _when(moment: float) -> str:
    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "at no known time"


def span(seconds: float) -> str:
    """A time as a person says it.

    >>> [span(s) for s in (0.25, 42, 250, 7300, 200_000)]
    ['0.2 s', '42 s', '4 min 10 s', '2 h 1 min', '2 d 7 h']
    """
    if not math.isfinite(seconds):
        return short(seconds)
    whole = round(seconds)
    for above, big, small, names in ((172_800, 86_400, 3600, "d h"), (3600, 3600, 60, "h min"), (60, 60, 1, "min s")):
        if whole >= above:
            one, other = names.split()
            rest = whole % big // small
            return f"{whole // big} {one}" + (f" {rest} {other}" if rest else "")
    return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"


def _state(history: RunHistory, now: float) -> str:
    """The state of the run by its events; that a silent one was killed they cannot say."""
    last = history.last
    if isinstance(last, ModelSaved) or (isinstance(last, Ended) and last.outcome == "done"):
        state, kind = "Finished", "good"
    elif isinstance(last, Ended):
        state, kind = last.text[:LETTERS], "bad"
    elif now - history.ended > QUIET:
        state, kind = f"No end is recorded, and nothing for {span(now - history.ended)}: it may have been killed", "bad"
    else:
        state, kind = f"Running: last event {span(max(0.0, now - history.ended))} before this page was written", "good"
    steps = max((curve.steps[-1] for curve in history.curves.values()), default=0)
    facts = [
        _several(steps, "step"),
        f"from {_when(history.begun)} to {_when(history.ended)} UTC, {span(history.ended - history.begun)}",
    ]
    if history.gaps >= 1:
        facts.append(f"of which it did not run {span(history.gaps)}")
    if history.resumed:
        places = ", ".join(f"{step:,}" for step in sorted(history.resumed)[:8]) + (
            ", …" if len(history.resumed) > 8 else ""
        )
        facts.append(f"resumed from an earlier step, at {places} (dotted): the later values are shown")
    if history.unread:
        facts.append(f"{_several(history.unread, 'damaged line')} left out")
    return f'<p class="state {kind}">{escape(state)}</p>\n<p>{"; ".join(facts)}.<br>Written {_when(now)} UTC.</p>'


def _groups(history: RunHistory) -> list[list[Curve]]:
    """Each measure with its held-out twin, those that are looked for first first."""
    curves = history.curves
    bases = dict.fromkeys(bare if (bare := name.removeprefix("held_out_")) in curves else name for name in curves)

    def rank(name: str) -> int:
        bare = name.removeprefix("held_out_")
        return next((place for place, first in enumerate(FIRST) if bare.startswith(first)), len(FIRST))

    return [[curves[one] for one in (name, f"held_out_{name}") if one in curves] for name in sorted(bases, key=rank)]


def _figures(history: RunHistory) -> str:
    drawn = [
        curves
        for curves in _groups(history)
        if any(curve.finite for curve in curves) and len({step for curve in curves for step in curve.steps}) > 1
    ]
    points = max(40, min(600, POINTS // max(1, sum(map(len, drawn[:FIGURES])))))
    figures = [_figure(number, curves, points, history.resumed) for number, curves in enumerate(drawn[:FIGURES])]
    if len(drawn) > FIGURES:
        figures.append(f'<p class="note">{len(drawn) - FIGURES:,} more measures are in the table only.</p>')
    return "\n".join(figures)


def _figure(number: int, curves: list[Curve], points: int, resumed: list[int]) -> str:
    names = [escape(curve.name) for curve in curves]
    keys = ["training ", "held out "] if len(curves) > 1 else [""]
    values = " ".join(
        f'<span class="key c{place}">{key}<b>{short(curve.values[-1])}</b></span>'
        for place, (key, curve) in enumerate(zip(keys, curves))
    )
    holes = sum(len(curve.values) - len(curve.finite) for curve in curves)
    note = f'<p class="note">× {_several(holes, "value")} not a finite number</p>' if holes else ""
    return (
        f"<figure><figcaption><h3>{names[0]}</h3> {values}</figcaption>\n"
        f"{svg(number, curves, points, resumed)}\n{note}</figure>"
    )


def _several(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _table(heads: str, rows: list[list[str]]) -> str:
    """`heads` are parted by |; what comes from a run is escaped already. Numbers stand right."""
    cells = "".join(f'<th scope="col">{head}</th>' for head in heads.split("|"))
    lines = "\n".join(
        "<tr>" + f'<th scope="row">{row[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead>\n<tbody>{lines}</tbody></table></div>'


def _learned(learned: Sequence[PrincipleAccuracy]) -> str:
    """Those that it learned least of first."""
    rows = [
        [
            escape(one.principle),
            f"{one.pairs:,}",
            f"{one.before.value:.1%}",
            f"{one.after.value:.1%}",
            _range(one.after),
        ]
        for one in sorted(learned, key=lambda one: one.after.value)
    ]
    note = '<p class="note">How often it finds the good text of a held-out pair likelier, by token. Ranges are 95 % intervals (Wilson).</p>'
    return note + _table("principle|pairs|before|after|range", rows[:500]) if rows else ""


def _range(interval: Interval) -> str:
    return "" if interval.low is None or interval.high is None else f"{interval.low:.1%} to {interval.high:.1%}"


def _values(history: RunHistory) -> str:
    rows = []
    for curves in _groups(history):
        for curve in curves:
            good = curve.finite
            holes = len(curve.values) - len(good)
            rows.append(
                [
                    escape(curve.name),
                    short(curve.values[-1]),
                    f"{curve.steps[-1]:,}",
                    short(min(good)) if good else "",
                    short(max(good)) if good else "",
                    f"{len(curve.values):,}",
                    f"{holes:,}" if holes else "",
                ]
            )
    return _table("measure|last value|at step|lowest|highest|values|not finite", rows[:500]) if rows else ""


def _phases(history: RunHistory) -> str:
    known = {name: math.fsum(times) for name, times in history.phases.items()}
    steps = history.curves.get("seconds")
    if steps:
        known["steps"] = math.fsum(steps.finite)
    whole = history.ended - history.begun - history.gaps
    rest = whole - sum(known.values())
    if not known:
        return ""
    whole = max(whole, sum(known.values()))
    rows = [
        [
            escape(name[:100]),
            f"{len(steps.values) if name == 'steps' and steps else len(history.phases[name]):,}",
            *_share(seconds, whole),
        ]
        for name, seconds in sorted(known.items(), key=lambda pair: -pair[1])
    ]
    if rest > 0.01 * whole:
        rows.append(["not recorded, or done again", "", *_share(rest, whole)])
    return _table("what|times|time|share", rows)


def _share(seconds: float, whole: float) -> list[str]:
    return [span(seconds), f"{seconds / whole:.1%}" if whole > 0 else ""]


def _log(history: RunHistory) -> str:
    lines = history.log
    left_out = len(lines) - LINES
    rows = [_line(line) for line in lines]
    if left_out > 0:
        half = LINES // 2
        rows = [
            *rows[:half],
            f'<li class="note">{left_out:,} lines left out here: they are in events.jsonl</li>',
            *rows[-half:],
        ]
    return f"<ol>{''.join(rows)}</ol>" if rows else ""


def _line(line: Line) -> str:
    text = line.text if len(line.text) <= LETTERS else line.text[:LETTERS] + " …"
    return f"<li><time>{_when(line.time)}</time> {escape(redact(text))}</li>\n"
