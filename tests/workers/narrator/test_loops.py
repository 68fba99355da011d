from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.narrator.loops import LoopGuard

WORDS = [f"word{number}" for number in range(400)]


def prose(words: int, seed: int = 1) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def test_prose_is_no_loop() -> None:
    guard = LoopGuard(prose(5000))
    assert not guard.looping
    assert not guard.suspicious


@pytest.mark.parametrize("period", [1, 2, 7, 40, 300, 1500])
def test_a_loop_is_seen_before_it_is_long(period: int) -> None:
    guard = LoopGuard(prose(1000, 2))
    again = prose(period, 3).split()
    for number in range(10_000):
        guard.add(again[number % period])
        if guard.looping:
            break
    # Once through is not a loop; 32 words of the second time are, with what it takes to notice a run.
    assert number < period + 32 + 16
    assert guard.suspicious or period == 1


def test_small_changes_do_not_hide_a_loop() -> None:
    guard = LoopGuard()
    for number in range(200):
        guard.add(f"He went to the door and looked out into the rain for the {number} time that night.")
        if guard.looping:
            break
    assert number < 20


def test_a_word_that_crowds_out_the_others_is_a_loop() -> None:
    """In ever new order, as small models do it: "Ivan Petrov roubles Ivan Ivanovna Ivan"."""
    chance = random.Random(5)
    guard = LoopGuard(prose(1000, 6))
    added = shown = 0
    while not guard.looping:
        guard.add("Ivan" if chance.random() < 0.45 else chance.choice(WORDS))
        added += 1
        shown += not guard.suspicious
        assert added < 60
    assert shown < 40, "the rest is held back, and so never shown"


def test_the_commonest_word_of_prose_is_none() -> None:
    chance = random.Random(7)
    guard = LoopGuard()
    for _ in range(50_000):
        guard.add("the" if chance.random() < 0.08 else chance.choice(WORDS))
    assert not guard.looping


def test_what_a_person_wrote_may_repeat_itself() -> None:
    guard = LoopGuard("ha " * 300)
    assert not guard.looping
    guard = LoopGuard("=" * 300)
    guard.add("\n\n")
    assert not guard.looping
    guard.add(prose(500, 8))
    assert not guard.looping


@pytest.mark.parametrize("unit", ["a", "Baba", "ha'", "Bababebop", "!", ". ", "…", "~-", "🌊", "* "])
def test_a_loop_that_adds_no_word_is_seen(unit: str) -> None:
    """As the narrator gets it: a long word comes in pieces of 49 letters, everything else as it is written."""
    guard = LoopGuard(prose(1000, 9))
    again = (unit * 100)[:400]
    size = 49 if unit[0].isalpha() else 3
    at = shown = 0
    while not guard.looping:
        guard.add(again[at : at + size])
        shown += 0 if guard.suspicious or guard.looping else size
        at += size
        assert at < 110
    assert shown < 50, "the rest is held back, and so never shown"
    kept = len(guard)
    guard.rewind(kept)
    guard.add(" And then he went home.")
    assert (guard.looping, guard.suspicious) == (False, False)


def test_long_words_and_lines_without_words_are_none() -> None:
    guard = LoopGuard()
    for text in (
        "Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz, ",
        "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch. ",
        "เมื่อวานนี้ฉันไปตลาดกับแม่และซื้อผลไม้หลายอย่างกลับมาบ้านเพื่อทำขนมให้น้อง ",
        "Nooooooooooo! ",
        "\n\n* * *\n\n",
        "-" * 72 + "\n\n",
    ):
        guard.add(text)
        assert not guard.looping, text
    guard.add("She went on.")
    assert not guard.suspicious


@given(st.integers(0, 120), st.integers(0, 60))
def test_rewinding_forgets(kept: int, dropped: int) -> None:
    text = prose(kept + dropped, 4).split()
    guard = LoopGuard(" ".join(text[:kept]))
    guard.add(" ".join(text[kept:]))
    guard.rewind(kept)
    fresh = LoopGuard(" ".join(text[:kept]))
    assert vars(guard) == vars(fresh)
