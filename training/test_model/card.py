"""The model card: what the model is, how it was made, and what was measured, all taken from the run and the report."""

from __future__ import annotations

from pathlib import Path

from training.common.events import read_events
from training.common.records import Measure, Metrics, Report
from training.test_model.settings import DemoSettings

_HEAD = """---
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [demo, fiction]
---

# A demo model that writes stories

**This is a demo.** It has {parameters:.1f} million parameters and was trained in {minutes:.0f} minutes on a processor, so that
Longhand has something to serve on its first run. Its text has the shape of a story: sentences, dialogue, paragraphs, an
end where one is asked for. It has no plot and little sense. For stories worth reading, serve a real model, such as
Qwen3.5-9B.

It knows only English fiction of the nineteenth and early twentieth century. **Some of those texts use racial, ethnic and
other language that is offensive today**, and so may the model. It is not instructed, aligned or filtered in any way.

## What it read

{stories:,.0f} short stories, {tokens:.1f} million tokens of requests and text in all. The texts are in the public domain in the United States and, where the author (and translator) died in 1955 or earlier, in
countries with a term of life and 70 years: the scope used here is "{scope}". They come from the public sources of Standard
Ebooks, whose own work on them is under CC0 1.0. Held out, never trained on: all {held_out:.0f} stories of {authors}.

## How it is asked

ChatML; one user message in the words of `training.common.text.story_request`, and the story as the assistant's turn. To go on, the
turn begins with the story so far; `training.common.text.length_note`, a second user message before its last sentence, says how many
words are written and left, and asks for the end where it is near. It was trained
on {length:,} tokens at a time, request included: keep request, context and answer within that, although `config.json` allows more.

## How it was made

`python -m training demo demo/demo.toml`: {recipe}

![Loss in nats per token over the steps: training and held out](curve.svg)

{losses}

```json
{settings}
```
"""


def write_card(settings: DemoSettings, folder: Path, report: Report | None = None) -> None:
    """Write README.md and curve.svg beside the model in `folder`."""
    events = read_events(settings.run_dir / "events.jsonl")
    # A run that was killed repeats the steps after its last checkpoint: the later account is the one that counts.
    trained = {e.step: e.values for e in events if isinstance(e, Metrics) and "loss" in e.values}
    tested = {
        e.step: e.values["held_out_loss"] for e in events if isinstance(e, Metrics) and "held_out_loss" in e.values
    }
    seconds = sum(values["seconds"] for values in trained.values())
    tokens = sum(values["tokens"] for values in trained.values())
    shape = settings.shape
    start = next((e.values for e in reversed(events) if isinstance(e, Metrics) and "stories" in e.values), {})
    text = _HEAD.format(
        parameters=start.get("parameters", 0) / 1e6,
        minutes=seconds / 60,
        stories=start.get("stories", 0),
        held_out=start.get("held_out_stories", 0),
        tokens=tokens / 1e6,
        scope=settings.pd_scope,
        authors=", ".join(settings.held_out_authors) or "nobody",
        length=settings.sequence_length,
        recipe=(
            f"a Qwen3 of {shape.layers} layers, {shape.hidden_size} wide, {shape.heads} query and {shape.kv_heads} key heads, with an "
            f"output head of its own and a byte-level BPE vocabulary of {settings.vocabulary:,}, learned from the same stories. "
            f"{len(trained):,} steps of {settings.batch_rows} rows, {seconds / 60:.0f} minutes in all on a processor that was shared "
            f"with other work; Muon for the matrices, AdamW for the rest, bf16 autocast, the learning rate constant after a "
            f"warm-up and falling to nothing over the last {settings.decay_steps} steps."
        ),
        losses=_losses(trained, tested),
        settings=settings.model_dump_json(indent=2, exclude={"run_dir", "corpus"}),
    )
    (folder / "README.md").write_text(text + (_figures(report) if report else ""), encoding="utf-8")
    curve = {step: values["loss"] for step, values in trained.items()}
    (folder / "curve.svg").write_text(_curve(curve, tested), encoding="utf-8")


def _losses(trained: dict[int, dict[str, float]], tested: dict[int, float]) -> str:
    if not trained:
        return ""
    last = sorted(trained)[-50:]
    text = (
        f"Last training loss {sum(trained[step]['loss'] for step in last) / len(last):.3f} (mean of {len(last)} steps)"
    )
    if tested:
        text += f", held-out loss {tested[max(tested)]:.3f}"
    return text + ", in nats per token."


def _figures(report: Report) -> str:
    rows = "\n".join(
        f"| {m.measure.replace('_', ' ')} | {_value(m, m.value)} | {_value(m, m.peer_value)} | {m.better} | {m.peer or ''} |"
        for m in report.measures
    )
    notes = "\n".join(f"- {m.measure.replace('_', ' ')}: {m.note}." for m in report.measures)
    return f"""
## What was measured

With `python -m training evaluate`, commit {report.commit}, {report.date}, {report.machine}, {report.seconds:.0f} s. The figures tell
whole text from broken text; none says that a story is good.

| measure | this model | beside it | better | what stands beside it |
|---|---:|---:|---|---|
{rows}

{notes}
"""


def _value(measure: Measure, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1%}" if measure.unit == "share" else f"{value:g}"


def _curve(trained: dict[int, float], tested: dict[int, float]) -> str:
    """Two lines over the steps, as an SVG of a few kilobytes; the training loss is averaged to at most 200 points."""
    if not trained:
        return '<svg xmlns="http://www.w3.org/2000/svg" width="640" height="320"></svg>\n'
    steps = sorted(trained)
    group = max(1, len(steps) // 200)
    chunks = [steps[first : first + group] for first in range(0, len(steps), group)]
    smooth = {chunk[-1]: sum(trained[step] for step in chunk) / len(chunk) for chunk in chunks}
    losses = [*smooth.values(), *tested.values()]
    low, high = int(min(losses)), int(max(losses)) + 1

    def line(points: dict[int, float], style: str) -> str:
        places = " ".join(
            f"{50 + 570 * step / steps[-1]:.1f},{20 + 260 * (high - loss) / (high - low):.1f}"
            for step, loss in sorted(points.items())
        )
        return f'<polyline points="{places}" fill="none" {style}/>'

    marks = "".join(
        f'<line x1="50" x2="620" y1="{y}" y2="{y}" stroke="#ddd"/><text x="42" y="{y + 4}" text-anchor="end">{loss}</text>'
        for loss in range(low, high + 1)
        for y in [round(20 + 260 * (high - loss) / (high - low), 1)]
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 320" font-family="sans-serif" font-size="12">
<rect width="640" height="320" fill="#fff"/>{marks}
{line(smooth, 'stroke="#7a9cc6"')}
{line(tested, 'stroke="#b3541e" stroke-width="2"')}
<text x="620" y="300" text-anchor="end">step {steps[-1]}</text>
<text x="60" y="310" fill="#7a9cc6">training loss, nats per token</text>
<text x="260" y="310" fill="#b3541e">held-out loss</text>
</svg>
"""
