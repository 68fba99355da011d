"""What the README says is what is there."""

from __future__ import annotations

import re

from benchmarks.readme import filled
from benchmarks.report import RESULTS, ROOT

README = (ROOT / "README.md").read_text()


def test_its_figures_are_those_of_the_results() -> None:
    assert filled(README) == README, "make figures"


def test_no_result_names_a_folder_of_this_machine() -> None:
    for path in RESULTS.glob("*.json"):
        assert str(ROOT) not in path.read_text()


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / target).exists(), target
