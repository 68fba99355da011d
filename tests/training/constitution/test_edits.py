from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.constitution.edits import Edit, InvalidEdit, apply_edits, changed_share, with_quotes_of

TEXT = "“Come in,” she said. The lamp was lit.\n\nHe didn’t come in — not yet."


def edit(find: str, replace: str) -> Edit:
    return Edit(find=find, replace=replace)


def test_words_match_whatever_their_quotes() -> None:
    made = apply_edits(TEXT, [edit('"Come in,"', '"Come in, I\'m cold,"'), edit("didn't come in - not", "didn't come")])
    assert made == "“Come in, I’m cold,” she said. The lamp was lit.\n\nHe didn’t come yet."


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        ([edit("The door", "A")], "does not occur in the text"),
        ([edit("ome in", "x")], "more than once"),
        ([edit("The lamp was", "x"), edit("was lit", "y")], "overlap"),
        ([edit("lamp", "x"), edit("lamp", "y")], "overlap"),
    ],
)
def test_invalid_edits(edits: list[Edit], says: str) -> None:
    with pytest.raises(InvalidEdit, match=says):
        apply_edits(TEXT, edits)


def test_straight_quotes_are_kept() -> None:
    assert with_quotes_of('"No," he said.', '"Yes," he didn\'t say.') == '"Yes," he didn\'t say.'


@given(
    st.text(alphabet="ab \n“”'", max_size=60), st.integers(0, 60), st.integers(1, 8), st.text(alphabet="cd", max_size=9)
)
def test_only_the_found_words_change(text: str, start: int, length: int, new: str) -> None:
    find = text[start : start + length]
    if not find:
        return
    try:
        made = apply_edits(text, [Edit(find=find, replace=new)])
    except InvalidEdit:
        return
    assert len(made) == len(text) - len(find) + len(new)
    assert made.startswith(text[: made.find(new)] if new else text[:0])


@pytest.mark.parametrize(
    ("after", "share"),
    [
        ("one two three four", 0.0),
        ("one two three five", 0.25),
        ("one two three", 0.25),
        ("one two three four five", 0.2),
        ("one two three  four", 0.0),
    ],
)
def test_the_share_of_changed_words(after: str, share: float) -> None:
    """1 of 4 replaced; 1 of 4 deleted; 1 of 5 inserted; whitespace does not count."""
    assert changed_share("one two three four", after) == pytest.approx(share)


def test_punctuation_and_paragraphs_count_as_words() -> None:
    assert changed_share("He came. She left", "He came! She left") == pytest.approx(1 / 5)
    assert changed_share("He came.\n\nShe left", "He came. She left") == pytest.approx(1 / 6)
