"""Two wordings as one text: nothing is lost, and what a reader sees as one change is one."""

from __future__ import annotations

from itertools import pairwise
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writer.editorial.worddiff import Piece, word_diff

WORDS = st.sampled_from(
    ["the", "lamp", "kept", "didn’t", "孔", "乙", ",", ".", " ", " ", "\n\n", "\n", "🌊", "—", "\t"]
)
TEXTS = st.one_of(st.text(), st.lists(WORDS, max_size=40).map("".join))


def side(pieces: list[Piece], other: str) -> str:
    return "".join(piece.text for piece in pieces if piece.kind in ("same", other))


@given(TEXTS, TEXTS)
def test_each_side_is_its_text(good: str, worse: str) -> None:
    pieces = word_diff(good, worse)
    assert side(pieces, "gone") == good
    assert side(pieces, "new") == worse
    assert all(piece.text for piece in pieces)
    assert all(one.kind != other.kind for one, other in pairwise(pieces)), "neighbours of a kind are one piece"


@given(TEXTS)
def test_what_is_the_same_is_one_piece(text: str) -> None:
    assert word_diff(text, text) == ([Piece("same", text)] if text else [])


@pytest.mark.parametrize(
    ("good", "worse", "pieces"),
    [
        ("He kept the tin.", "He kept some mementos.", [("same", "He kept "), ("gone", "the tin"), ("new", "some mementos"), ("same", ".")]),
        ("The old, grey man left.", "The young, blonde man left.", [("same", "The "), ("gone", "old, grey"), ("new", "young, blonde"), ("same", " man left.")]),
        ("孔乙己笑了。", "孔乙己很高兴。", [("same", "孔乙己"), ("gone", "笑了"), ("new", "很高兴"), ("same", "。")]),
        ("She didn’t.", "She did.", [("same", "She "), ("gone", "didn’t"), ("new", "did"), ("same", ".")]),
        ("Lit.", "Lit. It was sad.", [("same", "Lit."), ("new", " It was sad.")]),
        ("One.\n\nTwo.", "Three.\n\nFour.", [("gone", "One"), ("new", "Three"), ("same", ".\n\n"), ("gone", "Two"), ("new", "Four"), ("same", ".")]),
    ],
)  # fmt: skip
def test_what_a_reader_sees(good: str, worse: str, pieces: list[tuple[str, str]]) -> None:
    assert [(piece.kind, piece.text) for piece in word_diff(good, worse)] == pieces


def test_a_paragraph_break_that_goes_is_seen() -> None:
    pieces = word_diff("One.\n\nTwo.", "One. Two.")
    assert [(piece.kind, piece.shown) for piece in pieces if piece.kind != "same"] == [("gone", "¶\n\n"), ("new", " ")]
    assert word_diff("One.\n\nTwo.", "One.\n\nTwo!")[0].shown == "One.\n\nTwo", "one that stays needs no sign"


def test_a_long_passage_is_quick() -> None:
    """The longest that is stored, in which every word is another one."""
    good, worse = ("one of two " * 1800)[:20_000], ("two for one " * 1600)[:20_000]
    begun = perf_counter()
    word_diff(good, worse)
    assert perf_counter() - begun < 2
