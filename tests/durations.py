"""The durations of tests and fixtures: stored, so that the next run begins with the longest, and printed at the end of a long run.

Kept are seconds by test, in pytest's cache (.pytest_cache). FIRST stands for it where nothing is kept yet.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Generator
from typing import Any

import psutil
import pytest

KEPT = "longhand/durations"
WORTH_KEEPING, WORTH_PRINTING, LONG_RUN = 0.5, 5.0, 60.0
"""Seconds of a test, of a test or fixture, and of a run."""
FIRST = {
    "circle": 300, "browser": 250, "own model server": 200, "first run": 90, "rollout server": 150, "tests/repository/test_checks.py": 90,
    "tests/training/recipes/test_runs.py": 40, "tests/faults/test_gpu_worker.py": 30, "tests/faults/test_runs.py": 30,
    "tests/faults/test_supervisor.py": 30, "tests/training/test_model/test_demo_learns.py": 30,
}  # fmt: skip
"""Seconds of a group, or of the longest test of a file."""

_tests: dict[str, float] = defaultdict(float)
_fixtures: dict[str, list[float]] = defaultdict(list)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """File by file as before, those first that have the longest test or group. All processes of a run see the same order."""
    kept = _kept(config)
    seconds: dict[str, float] = defaultdict(float)
    units: dict[str, set[str]] = defaultdict(set)
    for item in items:
        file, group = _file(item.nodeid), item.get_closest_marker("xdist_group")
        unit = str(group.args[0]) if group else item.nodeid
        units[file].add(unit)
        seconds[unit] = (
            seconds[unit] + kept.get(_name(item.nodeid), 0.0) if kept else FIRST.get(unit, FIRST.get(file, 0.0))
        )
    items.sort(key=lambda item: -max(seconds[unit] for unit in units[_file(item.nodeid)]))


def _kept(config: pytest.Config) -> dict[str, float]:
    cache = getattr(config, "cache", None)  # `-p no:cacheprovider`
    return dict(cache.get(KEPT, {})) if cache else {}


def _name(nodeid: str) -> str:
    """Without the group that xdist writes behind it."""
    return nodeid.rpartition("@")[0] if nodeid.rfind("@") > nodeid.rfind("]") else nodeid


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any, request: Any) -> Generator[None, object, object]:
    began = time.monotonic()
    try:
        return (yield)
    finally:
        if (seconds := time.monotonic() - began) >= WORTH_KEEPING:
            request._pyfuncitem.user_properties.append(("fixture", [fixturedef.argname, seconds]))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _tests[_name(report.nodeid)] += report.duration
    if report.when == "teardown":
        for name, value in report.user_properties:
            if name == "fixture":
                pair: Any = value
                _fixtures[f"{pair[0]} in {_file(report.nodeid)}"].append(float(pair[1]))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    seconds = time.time() - psutil.Process().create_time()
    if getattr(config, "cache", None):
        kept = _kept(config) | {name: round(one, 1) for name, one in _tests.items()}
        config.cache.set(KEPT, {name: one for name, one in sorted(kept.items()) if one >= WORTH_KEEPING})
    if seconds >= LONG_RUN:
        terminalreporter.section("the slowest")
        lines = [(one, name) for name, one in _tests.items()]
        lines += [(sum(all_), f"{len(all_)} x fixture {name}") for name, all_ in _fixtures.items()]
        for one, name in sorted(lines, reverse=True)[:30]:
            if one >= WORTH_PRINTING:
                terminalreporter.write_line(f"{one:7.1f} s  {name}")
        terminalreporter.write_line(f"All in {seconds // 60:.0f} min {seconds % 60:.0f} s, on {os.cpu_count()} cores.")
