from __future__ import annotations

import pytest

from training.evaluate.overlap import Overlap


def words(start: int, number: int) -> str:
    return " ".join(f"w{index}" for index in range(start, start + number))


def test_a_run_of_thirteen_words_counts_and_one_of_twelve_does_not() -> None:
    story = f"{words(0, 20)} x {words(100, 12)}"
    found = Overlap([story])
    found.learned(f"before {words(0, 13)} after")
    found.learned(f"before {words(100, 12)} after")
    assert found.shares() == [pytest.approx(13 / 33)]
    assert found.longest() == 13


def test_overlapping_finds_count_once() -> None:
    found = Overlap([words(0, 40), words(500, 40)])
    found.learned(words(0, 20))
    found.learned(words(5, 20))
    assert found.shares() == [pytest.approx(25 / 40), 0.0]


def test_case_and_punctuation_do_not_hide_a_copy() -> None:
    text = "He went down to the sea in the morning and found the boat gone from its place."
    found = Overlap([text])
    found.learned(text.upper().replace("MORNING AND", "MORNING, AND"))
    assert found.shares() == [1.0]


def test_nothing_learned_and_nothing_written() -> None:
    assert Overlap(["", "one two"]).shares() == [0.0, 0.0]
