from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.constitution.edits import Edit, NotThere, apply, as_written_in, changed_share

TEXT = "“Come in,” she said. The lamp was lit.\n\nHe didn’t come in — not yet."


def edit(find: str, replace: str) -> Edit:
    return Edit(find=find, replace=replace)


def test_words_are_found_whatever_their_quotes() -> None:
    made = apply(TEXT, [edit('"Come in,"', '"Come in, I\'m cold,"'), edit("didn't come in - not", "didn't come")])
    assert made == "“Come in, I’m cold,” she said. The lamp was lit.\n\nHe didn’t come yet."


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        ([edit("The door", "A")], "does not stand in the text"),
        ([edit("ome in", "x")], "more than once"),
        ([edit("The lamp was", "x"), edit("was lit", "y")], "touch the same words"),
        ([edit("lamp", "x"), edit("lamp", "y")], "touch the same words"),
    ],
)
def test_edits_that_cannot_be_made(edits: list[Edit], says: str) -> None:
    with pytest.raises(NotThere, match=says):
        apply(TEXT, edits)


def test_a_text_with_straight_quotes_keeps_them() -> None:
    assert as_written_in('"No," he said.', '"Yes," he didn\'t say.') == '"Yes," he didn\'t say.'


@given(
    st.text(alphabet="ab \n“”'", max_size=60), st.integers(0, 60), st.integers(1, 8), st.text(alphabet="cd", max_size=9)
)
def test_only_the_found_words_change(text: str, start: int, length: int, new: str) -> None:
    find = text[start : start + length]
    if not find:
        return
    try:
        made = apply(text, [Edit(find=find, replace=new)])
    except NotThere:
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
def test_the_share_of_words_that_were_changed(after: str, share: float) -> None:
    """1 of 4 exchanged; 1 of 4 taken out; 1 of 5 put in; blanks are nothing."""
    assert changed_share("one two three four", after) == pytest.approx(share)


def test_signs_and_paragraphs_count_as_words() -> None:
    assert changed_share("He came. She left", "He came! She left") == pytest.approx(1 / 5)
    assert changed_share("He came.\n\nShe left", "He came. She left") == pytest.approx(1 / 6)
