"""The result of a benchmark: `benchmarks/results/NAME.json`, with the measures, the machine, the commit and the settings."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Measure:
    """A measure. One that could not be made has the value None, and the reason in its note."""

    measure: str
    value: float | None
    unit: str
    better: Literal["higher", "lower"]
    peer: str | None = None
    peer_value: float | None = None
    note: str = ""


def median_interval(values: Iterable[float]) -> tuple[float, float, float]:
    """Return the median with its 95 % interval, (low, median, high), from order statistics, for any distribution.

    >>> median_interval([3, 1, 2, 5, 4, 7, 6, 9, 8])
    (2, 5, 8)
    """
    ordered = sorted(values)
    size = len(ordered)
    rank, tail = 0, 0.5**size
    while tail + math.comb(size, rank + 1) * 0.5**size <= 0.025:
        rank += 1
        tail += math.comb(size, rank) * 0.5**size
    return ordered[rank], statistics.median(ordered), ordered[size - 1 - rank]


def p95(values: Iterable[float]) -> float:
    """Return the 95th percentile.

    >>> p95(range(100))
    95
    """
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


def machine() -> dict[str, Any]:
    """Return the processor, cores, memory and GPU of this machine."""
    processor = platform.processor() or platform.machine()
    memory = 0
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemTotal"):
            memory = round(int(line.split()[1]) / 2**20)
    cores = len(os.sched_getaffinity(0))
    return {"processor": processor, "cores": cores, "memory_gib": memory, "gpu": _run("nvidia-smi", "-L") or None}


def write(
    name: str, measures: Sequence[Measure], settings: dict[str, Any] | None = None, *, miniature: bool = False
) -> Path:
    """Write the result and print it as a table. `settings` are ours and the peer's: versions, sizes, counts. Returns the path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{'miniature-' if miniature else ''}{name}.json"
    changed = bool(_run("git", "status", "--porcelain", "--untracked-files=no"))
    process = {"load": [round(load, 1) for load in os.getloadavg()], "python": sys.version.split()[0]}
    result = {
        "machine": machine(),
        "commit": (_run("git", "rev-parse", "HEAD") or "unknown") + (" and changes" if changed else ""),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": (settings or {}) | process,
        "measures": [asdict(measure) for measure in measures],
    }
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    for measure in measures:
        value = "not measured" if measure.value is None else f"{measure.value:g} {measure.unit}"
        print(f"{measure.measure:32} {value:24} {measure.note}")
    print(f"Written to {path.relative_to(ROOT)}")
    return path


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""
