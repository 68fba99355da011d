"""Marked words are found again in a later revision, and uncertain places are reported."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writer.editorial.anchoring import Found, find

TEXT = (
    "The lamp was lit at six. Nobody came up the stairs.\n\n"
    "He thought of mementos. 🌊 They moved him deeply, he said, and he said it twice.\n\n"
    "The lamp was put out at nine. Nobody had come."
)
WORDS = "They moved him deeply"


def anchor(text: str, quote: str, at: int | None = None) -> dict[str, object]:
    start = text.index(quote) if at is None else at
    end = start + len(quote)
    return {"quote": quote, "before": text[max(0, start - 48) : start], "after": text[end : end + 48], "near": start}


def look(text: str, quote: str = WORDS, **change: object) -> tuple[str, bool] | None:
    found = find(text, **(anchor(TEXT, quote) | change))  # type: ignore[arg-type]
    return None if found is None else (text[found.start : found.end], found.certain)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (TEXT, (WORDS, True)),
        ("A new beginning. 🌊🌊\n\n" + TEXT, (WORDS, True)),
        (TEXT.replace("He thought of mementos.", "He thought of a tin."), (WORDS, True)),
        (TEXT.replace("🌊 ", "").replace(", he said, and he said it twice", ""), (WORDS, False)),
        (TEXT.replace(WORDS, "They moved him, a little"), ("They moved him, a little", False)),
        (TEXT.replace(WORDS + ", he said, and he said it twice.", "They moved him dearly."), ("They moved him dearly", False)),
        (TEXT.replace("🌊 They moved him deeply, he said, and he said it twice.", ""), None),
        ("Another story, with other words altogether.", None),
        ("", None),
    ],
    ids=["same", "moved", "around", "all around", "changed", "alike", "gone", "another", "empty"],
)  # fmt: skip
def test_where_it_is_now(text: str, found: tuple[str, bool] | None) -> None:
    got = look(text)
    if found is None or got is None:
        assert got == found
    else:
        assert got[1] == found[1]
        assert found[0] in got[0] or got[0] in found[0]


def test_the_same_words_in_two_places() -> None:
    second = TEXT.rindex("The lamp was")
    found = find(TEXT, **anchor(TEXT, "The lamp was", second))  # type: ignore[arg-type]
    assert found == Found(second, second + 12, certain=True)
    both = "Rain. Rain. Rain."
    assert find(both, quote="Rain", before="", after="", near=12) == Found(12, 16, certain=False)


@given(st.integers(0, 10_000))
def test_words_that_stand_there_unchanged_are_found_where_they_stand(seed: int) -> None:
    """Whatever is added before and after, and whatever other paragraphs are taken out."""
    rng = random.Random(seed)
    words = [
        rng.choice(["lamp", "keeper", "stairs", "🌊", "nine", "letter", "harbour", "oar"]) + str(n) for n in range(120)
    ]
    text = " ".join(words)
    start = text.index(words[60])
    quote = " ".join(words[60:64])
    kept = " ".join(["new"] * rng.randrange(50) + words[rng.randrange(40) : rng.randrange(80, 120)])
    found = find(kept, **anchor(text, quote, start))  # type: ignore[arg-type]
    assert found == Found(kept.index(quote), kept.index(quote) + len(quote), certain=True)


def test_hostile_words_take_no_time() -> None:
    text = "a" * 200_000
    assert find(text, quote="a" * 100, before="b" * 48, after="c" * 48, near=0) is not None
    assert find(text, quote="(a+)+$" * 20, before="", after="", near=0) is None
