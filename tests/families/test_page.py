"""The page of the families says what their tests assert, and every cell has a test."""

from __future__ import annotations

import pytest

from tests.families import LINES, cells_of
from tests.families.page import PATH, all_expected, page


def test_the_page_says_what_the_tests_assert() -> None:
    assert PATH.read_text(encoding="utf-8") == page(all_expected()), "`make models` writes it"


def test_every_cell_has_a_test(request: pytest.FixtureRequest) -> None:
    shown = {key for item in request.session.items for key in cells_of(item)}
    if {line for line, _ in shown} != LINES.keys():
        pytest.skip("the tests of all lines are not in this session")
    assert shown >= {key for key, cell in all_expected().items() if cell.result != "not tried"}
