"""Runs the tests of all families, those with vLLM too, and writes docs/models.md: `make models`."""

from __future__ import annotations

import sys

import pytest

from tests.families import FAMILIES, LINES, Cell, Family, Key, Line, cells_of, expected
from tests.families.page import PATH, all_expected, page


class Recorder:
    """Collects what the tests showed of each cell."""

    def __init__(self) -> None:
        self._cells: dict[str, list[Key]] = {}
        self._shown: set[Key] = set()
        self._failed: set[Key] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._cells = {item.nodeid: cells_of(item) for item in session.items}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        cells = self._cells.get(report.nodeid, ())
        if report.failed:
            self._failed.update(cells)
        elif report.when == "call" and report.passed:
            self._shown.update(cells)

    def cells(self) -> dict[Key, Cell]:
        return {key: self._cell(*key) for key in all_expected()}

    def _cell(self, line: Line, family: Family) -> Cell:
        key = (line, family)
        if key in self._failed:
            return Cell("fails")
        wanted = expected(line, family)
        return wanted if key in self._shown or wanted.result == "not tried" else Cell("not tried", "No test ran.")


def main() -> int:
    recorder = Recorder()
    # naming `soak` asks for those tests too
    code = pytest.main(["-q", "-m", "table and (soak or not soak)", "tests"], plugins=[recorder])
    cells = recorder.cells()
    PATH.write_text(page(cells), encoding="utf-8")
    print(f"Wrote {PATH.relative_to(PATH.parents[1])}: {len(LINES)} lines of {len(FAMILIES)} families.")
    return int(code) or int(cells != all_expected())


if __name__ == "__main__":
    sys.exit(main())
