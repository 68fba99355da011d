from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from training.common.text import count_words
from workers.narrator.length import Length, WordCount, end_of_word, quotation_closed, sentence_ends


def ends(text: str, before: str = "") -> list[str]:
    """Each sentence of `text` that is seen to end, with a ¶ where a paragraph does."""
    out, last = [], 0
    for end in sentence_ends(before, text):
        out.append(text[last : end.at].strip() + ("¶" if end.paragraph else ""))
        last = end.at
    return out


def test_sentences() -> None:
    text = "He asked Mr. Pym to stay. “Why?” said J. Pym. “No!” Then he left…\n\nIt rained (a little.) Nobody\n\n* * *\n\nX"
    assert ends(text) == [
        "He asked Mr. Pym to stay.", "“Why?” said J. Pym.", "“No!”", "Then he left…¶", "It rained (a little.)",
    ]  # fmt: skip
    assert ends("他走了。“真的？”她说。后来") == ["他走了。", "“真的？”", "她说。"]


def test_an_end_counts_only_when_its_sequel_is_seen() -> None:
    assert ends("It is over.") == []
    assert ends("\n\nNext", "It is over.") == ["¶"]
    assert ends(" Next", "asked Mr.") == []
    assert ends("” he said. Next", "“It is over.") == ["” he said."]


def test_quotations() -> None:
    assert quotation_closed("He said “yes.” Then “no.”")
    assert not quotation_closed("He said “yes. Then")
    assert not quotation_closed('"Yes." He said "no')
    assert quotation_closed("Don't. 'Tis late")


@given(
    st.lists(
        st.sampled_from(["it", "’s", "don", "'", "t ", "\n\n", " ", "孔", "己x", "-", "9", ".", "🌊", "e\u0301"]),
        max_size=40,
    )
)
def test_words_of_pieces_are_the_words_of_the_whole(pieces: list[str]) -> None:
    count = WordCount()
    for index, piece in enumerate(pieces, 1):
        assert count.add(piece) == count_words("".join(pieces[:index]))


@given(st.integers(200, 20_000))
def test_a_story_is_asked_to_land_with_true_numbers_and_not_too_often(target: int) -> None:
    length = Length(target)
    written, asked = 0, []
    while (plan := length.plan(written)).again_at is not None:
        assert plan.again_at > written
        written = plan.again_at
        asked.append(plan.landing)
    assert asked[0] is False
    assert all(asked[1:])
    assert len(asked) < 10
    assert length.plan(written).landing
    assert not length.accepts_end(int(0.95 * target) - 1)
    assert length.kept(length.most_words)
    assert length.ends_here(length.most_words, paragraph=True, closed=True)


def test_end_of_word() -> None:
    assert "one two three"[: end_of_word("one two three", 2)] == "one two"
    assert end_of_word("one", 5) == 3
