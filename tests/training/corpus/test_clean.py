"""Cleaning: what is removed, what is kept, and that it is idempotent."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.corpus.books import OTHER
from training.corpus.clean import clean, clean_line
from training.corpus.headings import byline, clean_title, is_chapter, page_name
from training.corpus.shingles import normalised

PIECES = st.sampled_from(
    ["\n", "\n\n", " ", "  ", "\u00a0", "\u00ad", "\u200b", "\u200d", "\u3000", "\t", "\r\n", "\f", "\u2028", "\x00", "\ud800", "-", "--", "—"]
    + ["***", "* * *", "⁂", "## ", "## I", "I", "II", "III: The Sea", "The End", "THE END.", "[Illustration]", "ﬁ", "e\u0301", "…", "。", "我", "a", "B.", "1"]
)  # fmt: skip


@settings(max_examples=800, deadline=None, database=None)
@given(st.one_of(st.text(max_size=120), st.lists(PIECES, max_size=25).map("".join)))
def test_cleaning_is_idempotent(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    assert once == once.strip()
    assert "\n\n\n" not in once
    once.encode()


@pytest.mark.parametrize(
    ("dirty", "says"),
    [
        ("ﬁrst of\u00adﬁce", "first office"),
        ("a\u200bb\ufeffc\u2060—d", "abc—d"),
        ("a\u00a0b\u2009c\u3000\u3000d", "a b c\u3000\u3000d"),
        ("e\u0301te\u0301", "été"),
        ("He⸻ said ⸺", "He——— said ——"),
        ("He--who--waited", "He—who—waited"),
        ("a  b \n c", "a b\nc"),
        ("One.\n\n***\n\n⁂\n\n* * * * *\n\nTwo.\n\n~", "One.\n\n* * *\n\nTwo."),
        ("One.\n\n[Illustration: a cat]\n\nwww.example.com\n\nTwo.\n\nTHE END", "One.\n\nTwo."),
        ("I\n\nOne.\n\nII\n\nTwo.", "## I\n\nOne.\n\n## II\n\nTwo."),
        ("One.\n\nI\n\nTwo.", "One.\n\nI\n\nTwo."),
        ("\x07bell\x1b[0m", "bell[0m"),
        ("……………", "……………"),
        ("“Wait”—‘no’…", "“Wait”—‘no’…"),
    ],
)
def test_what_is_removed_and_kept(dirty: str, says: str) -> None:
    assert clean(dirty) == says


def test_chinese_is_kept() -> None:
    if not OTHER.exists():
        pytest.skip("the corpus ../shared/corpus is not here")
    with gzip.open(OTHER, "rt", encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            assert clean(record["text"]).replace("## ", "") == record["text"].strip()


def test_a_title_is_on_one_line() -> None:
    assert clean_line("  The\u00a0Old\n Door\u200b ") == "The Old Door"


@pytest.mark.parametrize(
    ("heading", "title"),
    [
        ("THE OLD DOOR", "The Old Door"),
        ("IV. The Old Door.", "The Old Door"),
        ("*Moby*", "Moby"),
        ("M.S. FOUND IN A BOTTLE", "M.s. Found in a Bottle"),
        ("I", "I"),
        ("O. Henry", "O. Henry"),
        ("孔乙己", "孔乙己"),
        ("I: I Spy", "I Spy"),
    ],
)
def test_titles(heading: str, title: str) -> None:
    assert clean_title(heading) == title


def test_headings_of_pages_and_chapters() -> None:
    assert [page_name(said) for said in ("CONTENTS", "Introduction by Jane Doe", "目录", "The Copyright Thief")] == [
        "contents",
        "foreword",
        "contents",
        "",
    ]
    assert not any(map(is_chapter, ("The Dead", "Six Feet Four", "Letters", "I Spy", "Chapterhouse")))
    assert all(map(is_chapter, ("XII", "12.", "Chapter Nine", "PART THE FIRST", "Epilogue", "第十二章 归来")))


def test_bylines() -> None:
    assert [
        byline(said) for said in ("by Jane Doe", "BY C. L. MOORE", "By the sea", "By Ursula K. Le Guin and Jane Doe")
    ] == [
        "Jane Doe",
        "C. L. Moore",
        "",
        "Ursula K. Le Guin and Jane Doe",
    ]


def test_normalised_text() -> None:
    assert normalised("“Don’t,” he *said*—ÉTÉ!") == "dont he said ete"
    assert normalised("我是AB，你") == "我 是 ab 你"
