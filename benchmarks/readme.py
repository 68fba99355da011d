"""Copy the figures of benchmarks/results into the README: `make figures`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS, ROOT

ASKED = {
    "within_10_percent": "at least 0.95",
    "cut_share": "0",
    "error_at_12000_words": "at most 0.05",
    "late_repetition_ratio": "at most 1.5",
    "throughput_ratio_1": "at least 0.95",
    "throughput_ratio_8": "at least 0.90",
    "throughput_ratio_32": "at least 0.90",
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
    "grpo_speedup": "at least 1.15, aim 1.5",
    "grpo_speedup_slow_judge": "at least 1.15",
    "grpo_speedup_slow_judge_one_behind": "at least 1.4",
    "grpo_memory_vs_trl": "at most 1.0",
} | {
    f"{recipe}_speedup_{shape}_{lengths}": f"at least {least}"
    for recipe in ("sft", "dpo", "reward_model")
    for shape in ("demo", "60m")
    for lengths, least in (("mixed", 1.3), ("equal", 1.0))
}
"""What was asked of a measure before it was taken."""
SMALLER = {"miniature-length", "miniature-streaming"}
"""Sizes of benchmarks whose full size is there, too."""
BEGIN, END = "<!-- figures -->\n", "<!-- /figures -->"


def table(result: dict[str, Any], name: str) -> str:
    machine = result["machine"]
    where = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['gpu'] or 'no GPU'}"
    )
    rows = [
        f"`make {name if name.startswith('miniature-') else f'bench-{name}'}`, {result['date'][:10]}, {where}",
        "",
        "| measure | value | asked | |",
        "| --- | --- | --- | --- |",
    ]
    for measure in result["measures"]:
        value = "not measured" if measure["value"] is None else f"{_short(measure['value'])} {measure['unit']}"
        if measure["peer"] == "before" and measure["peer_value"] is not None:
            value += f", {_short(measure['peer_value'])} before"
        rows.append(f"| {measure['measure']} | {value} | {ASKED.get(measure['measure'], '')} | {measure['note']} |")
    return "\n".join(rows) + "\n"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def figures() -> str:
    """The part of the README between its two marks."""
    paths = (path for path in sorted(RESULTS.glob("*.json")) if path.stem not in SMALLER)
    return "\n".join(table(json.loads(path.read_text()), path.stem) for path in paths)


def filled(readme: str) -> str:
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}{figures()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    page: Path = ROOT / "README.md"
    page.write_text(filled(page.read_text()))
