"""The report of a run: its contents, hostile and damaged events, and the page in a browser."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

import training.reporting.charts
from tests.e2e.browser import chromium
from training.common.errors import MendableError
from training.common.events import EVENT, EventLog
from training.common.records import LogLine
from training.reporting.charts import Axis, Curve, chart_svg, round_ticks, thin, value_axis
from training.reporting.history import RunHistory, read_history
from training.reporting.report import SILENT_SECONDS, page, write_report

START = 1_795_200_000.0


def metrics(step: int, **values: Any) -> dict[str, Any]:
    return {"kind": "metrics", "time": START + step, "step": step, "values": values}


def log(text: str, at: float = 0) -> dict[str, Any]:
    return {"kind": "log", "time": START + at, "text": text}


def saved(path: str, at: float = 0) -> dict[str, Any]:
    return {"kind": "model_saved", "time": START + at, "path": path}


def ended(outcome: str, step: int | None = None, reason: str = "", at: float = 0) -> dict[str, Any]:
    return {"kind": "ended", "time": START + at, "outcome": outcome, "step": step, "reason": reason}


def phase(name: str, seconds: float, at: float = 0) -> dict[str, Any]:
    return {"kind": "phase", "time": START + at, "name": name, "seconds": seconds}


def a_run(folder: Path, events: Iterable[Any], settings: str = '{"recipe": "sft", "steps": 9}') -> Path:
    folder.mkdir(exist_ok=True)
    lines = (event if isinstance(event, str) else json.dumps(event) for event in events)
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n")
    if settings:
        (folder / "settings.json").write_text(settings)
    return folder


def report(folder: Path, events: Iterable[Any], **settings: str) -> str:
    return write_report(a_run(folder / "run", events, **settings)).read_text()


def drawings(html: str) -> list[ElementTree.Element]:
    """The charts, parsed as XML, which fails if text in them is not escaped."""
    return [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]


def points_of(drawing: ElementTree.Element, kind: str = "polyline") -> list[tuple[float, float]]:
    lines = [line.get("points", "") for line in drawing.iter(kind)]
    return [(float(x), float(y)) for line in lines for x, y in (point.split(",") for point in line.split())]


def test_the_page_of_a_run(tmp_path: Path) -> None:
    events = [log("7 texts"), phase("data", 30)]
    events += [metrics(step, loss=3 - step / 100, seconds=2.0) for step in range(1, 101)]
    events += [metrics(step, held_out_loss=3.1 - step / 100) for step in (50, 100)]
    events += [saved("run/model", at=300), ended("done", 100, at=300)]
    html = report(tmp_path, events)
    loss, _seconds = drawings(html)
    assert loss.find("title") is not None
    assert "loss over the steps" in html
    assert "held out <b>2.1</b>" in html
    assert "training <b>2</b>" in html
    assert "Finished" in html
    assert "The model is in run/model." in html
    assert '<th scope="row">data</th><td>1</td><td>30 s</td><td>10.0%</td>' in html
    assert '<th scope="row">steps</th><td>100</td><td>3 min 20 s</td><td>66.7%</td>' in html
    assert "run, sft" in html
    assert "&quot;steps&quot;: 9" in html
    assert not list((tmp_path / "run").glob(".report*"))


def test_the_page_loads_nothing_and_has_no_scripts(tmp_path: Path) -> None:
    html = report(tmp_path, [metrics(1, loss=2.0), metrics(2, loss=1.0)])
    assert not re.search(r"<script|<link|<img|<iframe|https?:|url\(|@import|\son\w+=", html)
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_keys_of_an_old_run_are_hidden(tmp_path: Path) -> None:
    html = report(tmp_path, [log("with hf_" + "aB3" * 11)], settings='{"url": "https://me:word@example.org"}')
    assert "with [hidden]" in html
    assert "https://[hidden]@example.org" in html


HOSTILE = "<script>alert('x')</script>\"&'<img src=x onerror=alert(1)>]]>"


def test_hostile_text_is_escaped(tmp_path: Path) -> None:
    events = [log(HOSTILE), phase(HOSTILE, 3.0), metrics(1, **{HOSTILE: 1.0}), metrics(2, **{HOSTILE: 2.0})]
    folder = a_run(tmp_path / "<b>run", events, settings=json.dumps({"recipe": HOSTILE}))
    html = write_report(folder).read_text()
    found: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend([tag, *(name for name, _ in attrs)])

    Tags().feed(html)
    assert not {"script", "img", "b>run", "onerror", "src"} & set(found)
    assert len(drawings(html)) == 1


@given(st.lists(st.one_of(st.text(), st.floats(), st.integers()).map(lambda value: ["log", "phase", "loss", value])))
def test_any_texts_and_numbers_make_a_page(values: list[list[Any]]) -> None:
    history = RunHistory()
    for step, (*_, value) in enumerate(values):
        record = metrics(step, loss=value, learning_rate=1) if isinstance(value, (int, float)) else log(value)
        try:
            history.add(EVENT.validate_python(record))
        except ValueError:  # an integer that is too large for a float
            continue
    html = page("run", history, "", START)
    for drawing in drawings(html):
        for x, y in points_of(drawing):
            assert 0 <= x <= training.reporting.charts.WIDTH
            assert 0 <= y <= training.reporting.charts.HEIGHT


def test_later_values_of_a_step_count(tmp_path: Path) -> None:
    """Killed after step 60, resumed from 50, and now at 55: the values of 56 to 60 from before do not count."""
    events = [metrics(step, loss=9.0 if step > 50 else 1.0) for step in range(1, 61)]
    checkpoint = "run/checkpoints/step-000050"
    events += [{"kind": "resumed", "time": START + 100, "checkpoint": checkpoint, "step": 50}]
    events += [metrics(step, loss=1.0) | {"time": START + 101} for step in range(51, 56)]
    history = read_history(a_run(tmp_path / "run", events) / "events.jsonl")
    assert history.curves["loss"].steps == list(range(1, 56))
    assert set(history.curves["loss"].values) == {1.0}
    assert history.resumed == [51]
    assert history.gaps == 40
    html = page("run", history, "", START)
    assert "resumed from an earlier step, at 51" in html
    assert 'class="resumed"' in html


def test_several_events_of_the_same_step_are_not_a_resume(tmp_path: Path) -> None:
    events = [event for step in (1, 2, 3) for event in (metrics(step, loss=1.0), metrics(step, held_out_loss=2.0))]
    history = read_history(a_run(tmp_path / "run", events) / "events.jsonl")
    assert not history.resumed
    assert history.curves["held_out_loss"].steps == [1, 2, 3]


def test_values_that_are_not_finite_are_gaps_and_counted(tmp_path: Path) -> None:
    values = [1.0, 2.0, math.nan, math.inf, 2.0, 1.0, math.nan]
    html = report(tmp_path, [metrics(step, loss=value) for step, value in enumerate(values)])
    (drawing,) = drawings(html)
    assert len(list(drawing.iter("polyline"))) == 2
    assert "× 3 values not a finite number" in html
    assert html.count("is not finite at step") == 3
    assert "<td>not a number</td><td>6</td><td>1</td><td>2</td><td>7</td><td>3</td>" in html


def test_a_metric_without_finite_values_is_only_in_the_table(tmp_path: Path) -> None:
    html = report(tmp_path, [metrics(step, loss=math.nan) for step in range(3)])
    assert not drawings(html)
    assert "<td>not a number</td>" in html


def test_a_metric_with_one_value_is_only_in_the_table(tmp_path: Path) -> None:
    html = report(tmp_path, [metrics(0, parameters=7e9)])
    assert not drawings(html)
    assert "<td>7G</td>" in html


def test_an_event_log_is_read_completely(tmp_path: Path) -> None:
    events = EventLog(tmp_path / "events.jsonl")
    with events.phase("data"):
        events.log("A line with \u2028 a sign that parts lines")
    for step in range(5):
        events.metrics(step, loss=step / 7)
    history = read_history(tmp_path / "events.jsonl")
    assert history.events == 7
    assert history.log[0].text == "A line with \u2028 a sign that parts lines"
    assert history.curves["loss"].values == [step / 7 for step in range(5)]


def test_damaged_lines_are_left_out_and_counted(tmp_path: Path) -> None:
    deep = "[" * 100_000
    html = report(
        tmp_path, [metrics(1, loss=1.0), '{"kind":"metrics","ti', deep, "7", '{"kind": "other"}', metrics(2, loss=1.0)]
    )
    assert "4 damaged lines left out" in html


@pytest.mark.parametrize(
    ("last", "later", "state"),
    [
        (ended("done", 5), 10**6, "Finished"),
        (saved("run/model"), 10**6, "Finished"),
        (ended("stopped", 5), 10**6, "Stopped after step 5, as asked; the same command resumes from here."),
        (ended("stopped"), 10**6, "Stopped while it was getting ready, as asked; the same command starts again."),
        (ended("failed", reason="The loss is not a number."), 5, "Failed: The loss is not a number."),
        (ended("interrupted"), 10**6, "Interrupted; the same command resumes from what is saved."),
        (log("The model is in run/model."), 10**6, "Finished"),  # log lines of old runs
        (log("Stopped after step 5, as asked; the same command goes on from here."), 10**6, "Stopped after step 5, as"),
        (log("Stopped as asked; the same command goes on from here."), 10**6, "Stopped while it was getting ready, as"),
        (log("Stopped: the loss is not a number."), 5, "Failed: the loss is not a number."),
        (log("Interrupted."), 10**6, "Interrupted; the same command resumes from what is saved."),
        (log("Stopped at noon."), 65, "Running: last event 1 min 5 s before"),
        (metrics(5, loss=1.0), 65, "Running: last event 1 min before"),
        (metrics(5, loss=1.0), SILENT_SECONDS + 6, "nothing for 30 min 1 s: it may have been killed"),
        (phase("checkpoint", 5, at=5), -100, "Running: last event 0.0 s before"),
    ],
)
def test_the_state_of_a_run(tmp_path: Path, last: dict[str, Any], later: float, state: str) -> None:
    history = read_history(a_run(tmp_path / "run", [ended("stopped", 3), metrics(4, loss=1.0), last]) / "events.jsonl")
    assert state in page("run", history, "", START + later)


def test_the_accuracies_by_principle(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", [metrics(1, loss=1.0), metrics(2, loss=0.5)])
    shares = {"value": 0.25}, {"value": 0.875, "low": 0.81, "high": 0.92}
    rows = [{"principle": key, "pairs": 1200, "before": shares[0], "after": shares[1]} for key in ("<b>plain", "short")]
    (run / "principles.json").write_text(json.dumps(rows))
    html = write_report(run).read_text()
    assert "Accuracy by principle" in html
    assert "&lt;b&gt;plain</th><td>1,200</td><td>25.0%</td><td>87.5%</td><td>81.0% to 92.0%</td>" in html
    (run / "principles.json").write_text("[{]")
    assert "Accuracy by principle" not in write_report(run).read_text()


def test_without_settings(tmp_path: Path) -> None:
    assert "<h2>Settings</h2>" not in report(tmp_path, [metrics(1, loss=1.0)], settings="")
    assert "<h2>Settings</h2>" in report(tmp_path, [metrics(1, loss=1.0)])
    assert "not json" in report(tmp_path, [metrics(1, loss=1.0)], settings="not json")


def test_errors_are_explained(tmp_path: Path) -> None:
    with pytest.raises(MendableError, match="There is no folder"):
        write_report(tmp_path / "none")
    with pytest.raises(MendableError, match=r"events\.jsonl cannot be read: No such file"):
        write_report(tmp_path)
    (tmp_path / "events.jsonl").write_text("\n")
    with pytest.raises(MendableError, match="has no events yet"):
        write_report(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["events.jsonl"]


def test_a_spike_is_never_hidden_and_a_long_run_makes_a_small_page(tmp_path: Path) -> None:
    names = [
        "loss",
        "grad_norm",
        "learning_rate",
        "tokens",
        "seconds",
        "tokens_per_second",
        "memory_gib",
        "accuracy",
        "margin",
    ]
    history = RunHistory(begun=START, ended=START + 1, events=1)
    for name in names:
        history.curves[name] = Curve(name, list(range(100_000)), [math.sin(step * 0.37) for step in range(100_000)])
    history.curves["held_out_loss"] = Curve("held_out_loss", list(range(0, 100_000, 100)), [0.5] * 1000)
    history.curves["loss"].values[54_321] = 40.0
    history.log = [LogLine(time=START, text="a line of some length " * 10)] * 5000
    began = time.process_time()
    html = page("run", history, "x" * 10**6, START)
    assert time.process_time() - began < 10
    assert len(html) < 1_000_000
    assert "step 54,321: loss 40" in html
    assert "4,600 lines are left out here" in html


def test_the_page_of_a_run_with_many_metrics_is_small(tmp_path: Path) -> None:
    history = RunHistory(events=1)
    for number in range(1000):
        history.curves[f"m{number}"] = Curve(f"m{number}", list(range(1000)), [1.0] * 1000)
    html = page("run", history, "", START)
    assert len(html) < 1_000_000
    assert "940 more metrics are in the table only" in html


@given(values=st.lists(st.floats(width=32), min_size=1, max_size=300), most=st.integers(8, 100))
def test_thinning_keeps_the_extremes(values: list[float], most: int) -> None:
    curve = Curve("loss", list(range(0, 3 * len(values), 3)), values)
    found = thin(curve, most)
    drawn = [point for line in found.lines for point in line]
    assert len(drawn) <= most + 4
    assert drawn == sorted(drawn, key=lambda point: point[0])
    assert set(drawn) <= set(zip(curve.steps, curve.values))
    if curve.finite:
        assert max(value for _, value in drawn) == max(curve.finite)
        assert min(value for _, value in drawn) == min(curve.finite)
    assert bool(found.holes) == (len(curve.finite) < len(values))


@given(low=st.floats(-1e9, 1e9), size=st.floats(1e-6, 1e9), about=st.integers(2, 8))
def test_ticks_are_round_and_inside(low: float, size: float, about: int) -> None:
    ticks = round_ticks(low, low + size, about)
    assert len(ticks) <= 2 * about + 1
    tolerance = size * 1e-6 + 1e-6
    assert all(low - tolerance <= tick <= low + size + tolerance for tick in ticks)


def test_the_axis_is_logarithmic_for_more_than_three_powers_of_ten() -> None:
    assert value_axis([0.001, 2.0]).powers
    assert value_axis([0.001, 2.0]).ticks(5) == [0.001, 0.01, 0.1, 1.0]
    assert not value_axis([0.0, 2.0]).powers
    assert not value_axis([0.01, 2.0]).powers
    assert not value_axis([-1.0, 5000.0]).powers
    drawing = chart_svg(1, [Curve("grad norm", [1, 2, 3], [1e-5, 1.0, 1e5])], 100)
    assert "on a scale of powers of ten" in drawing
    (_, y1), (_, y2), (_, y3) = points_of(ElementTree.fromstring(drawing))
    assert y1 - y2 == pytest.approx(y2 - y3)


def test_a_constant_metric_is_in_the_middle() -> None:
    assert 0 < Axis(3, 3, 0, 10).place(3) < 10
    axis = value_axis([2.5, 2.5])
    assert axis.low < 2.5 < axis.high
    assert value_axis([0.0, 0.0]).low == 0


@pytest.mark.browser
def test_a_browser_shows_it_wide_and_narrow_without_messages_or_requests(tmp_path: Path) -> None:
    events = [metrics(step, loss=1 / step, held_out_loss=2 / step, grad_norm=10.0**-step) for step in range(1, 9)]
    path = write_report(a_run(tmp_path / "run", [log("x" * 900), log(HOSTILE), *events]))
    found: list[str] = []
    with chromium() as browser:
        for width in (360, 1280):
            shown = browser.new_page(viewport={"width": width, "height": 800})
            shown.on("console", lambda message: found.append(message.text))
            shown.on("dialog", lambda dialog: found.append(dialog.message))
            shown.on(
                "request", lambda request: found.append(request.url) if not request.url.startswith("file:") else None
            )
            shown.goto(path.as_uri())
            assert shown.evaluate("document.documentElement.scrollWidth") <= width
            assert shown.get_by_role("img").count() == 2
            assert shown.get_by_role("img", name="loss over the steps").is_visible()
    assert found == []
