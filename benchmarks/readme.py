"""Copies the measures of benchmarks/results into docs/benchmarks.md, and ten of them into README.md: `make figures`."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS, ROOT

README: Path = ROOT / "README.md"
PAGE: Path = ROOT / "docs" / "benchmarks.md"
QUOTED = (
    (
        "streaming",
        "streams_within_500ms",
        "Stories that two cores stream at once, each word on the page within 500 ms (p95)",
    ),
    ("streaming", "throughput_ratio_8", "Speed of eight stories through Longhand beside the model server alone"),
    (
        "length",
        "within_10_percent",
        "Share of stories that end within 10 % of the length asked for, 300 to 3,000 words",
    ),
    ("editorial", "next_item_ms_p95", "The next pair for an editor, 40 editors at work (p95)"),
    ("editorial", "snapshot_s", "A data set from 100,000 votes and 500,000 marks"),
    ("marking", "palette_ms_p95", "From the key to the list of principles on the screen (p95)"),
    ("studio", "rollback_s", "From the click on rollback to the first words of the version before, worst of five"),
    ("training", "dpo_speedup_60m_mixed", "Speed of preference training beside TRL, texts of mixed length"),
    ("training", "memory_vs_trl", "Memory of a fine-tuning step beside TRL"),
    ("grpo", "grpo_speedup", "Speed of a GRPO step beside TRL"),
)
"""The measures in the README: result, measure, and description."""
ABOUT = {
    "corpus": "Importing books as clean stories: the speed, and what the filters reject.",
    "editorial": "The editors' desk with 40 editors at work, and a snapshot of a great deal of judgement.",
    "grpo-starter": "A step of GRPO with adapters on the starter model beside TRL's trainer.",
    "grpo": "A step of GRPO beside TRL's trainer, with the same stories, judge and server.",
    "length": "The words that stories have, beside the words asked for, on the demo model.",
    "marking": "The marking page in Chromium: keys, scrolling, typing.",
    "miniature-dpo": "Preference training on ten mechanical principles, on the demo model.",
    "miniature-grpo": "GRPO on the demo model, with and without human stories.",
    "streaming-starter": "Stories of the starter model through Longhand beside the model server alone.",
    "streaming": "Stories through Longhand beside the model server alone, and how many of them a machine can stream.",
    "studio": "Promotion, rollback and live curves, by clicks in Chromium.",
    "training": "Steps of fine-tuning, preference training and reward models beside TRL's trainers.",
    "training-starter": "Training adapters of the starter model beside TRL's trainers, and beside the arithmetic of its products alone.",
    "violations": "Asking a teacher for violations, beside the model server's own benchmark.",
}
"""What each benchmark measures."""
TARGETS = (
    {
        "within_10_percent": "at least 0.95",
        "cut_share": "0",
        "error_at_12000_words": "at most 0.05",
        "given_up_1000_starter": "0",
        "given_up_3000_starter": "0",
        "late_repetition_ratio": "at most 1.5",
        "throughput_ratio_1": "at least 0.95",
        "throughput_ratio_8": "at least 0.90",
        "throughput_ratio_32": "at least 0.90",
        "throughput_ratio_8_starter": "at least 0.95",
        "first_token_added_ms_p95_8": "at most 100",
        "streams_within_500ms": "at least 200",
        "next_item_ms_p95": "at most 50",
        "snapshot_s": "at most 60",
        "palette_ms_p95": "at most 100",
        "frame_interval_ms_p95": "at most 20",
        "keystroke_work_ms_p95": "at most 8",
        "keystroke_paint_ms_p95": "at most 33",
        "rollback_s": "at most 30",
        "events_lag_s_p95": "at most 2",
        "stories_per_s": "at least 27",
        "server_utilisation": "at least 0.9",
        "principles_learned": "at least 8",
        "principles_obeyed": "at least 8",
        "perplexity_change": "less than 0.05",
        "memory_vs_trl": "at most 1.0",
        "memory_vs_dense": "at most 0.25",
        "starter_memory_vs_trl": "at most 1.0",
        "grpo_speedup": "at least 1.15, aim 1.5",
        "grpo_speedup_slow_judge": "at least 1.15",
        "grpo_speedup_slow_judge_one_behind": "at least 1.4",
        "grpo_memory_vs_trl": "at most 1.0",
        "starter_grpo_speedup": "at least 1.2, aim 1.5",
        "starter_grpo_memory_vs_trl": "at most 1.0",
    }
    | {
        f"starter_{recipe}_speedup_{lengths}": f"at least {least}"
        for recipe in ("sft", "dpo")
        for lengths, least in (("mixed", "1.2, aim 1.5"), ("equal", "1.0"))
    }
    | {
        f"{recipe}_speedup_{shape}_{lengths}": f"at least {least}"
        for recipe in ("sft", "dpo", "reward_model")
        for shape in ("demo", "60m")
        for lengths, least in (("mixed", 1.3), ("equal", 1.0))
    }
)
"""The targets of measures, which were set before they were made."""
SMALLER = {"miniature-length", "miniature-streaming"}
"""Results of small sizes of benchmarks that also have a result of their full size."""
BEGIN, END = "<!-- figures -->\n", "<!-- /figures -->"


@cache
def result(name: str) -> dict[str, Any]:
    return dict(json.loads((RESULTS / f"{name}.json").read_text()))


def section(name: str) -> str:
    """Return the section of a benchmark."""
    found = result(name)
    rows = [
        f"## make {name if name.startswith('miniature-') else f'bench-{name}'}",
        "",
        f"{ABOUT[name]} Measured {found['date'][:10]} on {machine(name)}.",
        "",
        "| Measure | Value | Asked for | Note |",
        "| --- | --- | --- | --- |",
    ]
    for one in found["measures"]:
        note = one["note"].replace("|", "\\|")
        rows.append(f"| {one['measure']} | {value(one)} | {TARGETS.get(one['measure'], '')} | {note} |")
    return "\n".join(rows) + "\n"


def machine(name: str) -> str:
    where = result(name)["machine"]
    return f"{where['processor']}, {where['cores']} cores, {where['memory_gib']} GiB, {where['gpu'] or 'no GPU'}"


def value(measure: dict[str, Any]) -> str:
    if measure["value"] is None:
        return "not measured"
    before = measure["peer"] == "before" and measure["peer_value"] is not None
    return f"{_short(measure['value'])} {measure['unit']}" + (
        f", {_short(measure['peer_value'])} before" if before else ""
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _with_unit(measure: dict[str, Any]) -> str:
    """Return a value with its unit, for the README.

    >>> _with_unit({"value": 0.957, "unit": "share"}), _with_unit({"value": 3.46, "unit": "ratio"}), _with_unit({"value": 24, "unit": "ms"})
    ('0.957', '3.46 times', '24 ms')
    """
    unit = {"share": "", "ratio": " times"}.get(measure["unit"], f" {measure['unit']}")
    return f"{_short(measure['value'])}{unit}"


def quoted(readme: str) -> str:
    """Return the README with its ten measures."""
    rows = ["| What | Figure | Asked for |", "| --- | --- | --- |"]
    for name, measure, words in QUOTED:
        [found] = [one for one in result(name)["measures"] if one["measure"] == measure]
        rows.append(f"| {words} | {_with_unit(found)} | {TARGETS[measure]} |")
    machines = sorted({machine(name) for name, _, _ in QUOTED})
    return _filled(readme, "\n".join(rows) + f"\n\nMeasured on {' and on '.join(machines)}.\n")


def page(text: str) -> str:
    """Return the page of all measures."""
    names = (path.stem for path in sorted(RESULTS.glob("*.json")) if path.stem not in SMALLER)
    return _filled(text, "\n".join(map(section, names)))


def _filled(text: str, figures: str) -> str:
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}{figures}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    README.write_text(quoted(README.read_text()))
    PAGE.write_text(page(PAGE.read_text()))
