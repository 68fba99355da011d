"""Words, rounding and the request for a story: what the narrator, the recipes and the pages agree on."""

from __future__ import annotations

import pytest

from training.common.text import (
    count_words,
    last_sentence,
    length_note,
    paragraphs,
    round_words,
    storable,
    story_request,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("…—“”", 0),
        ("The lamp-lighter didn't wait.", 5),
        ("don’t", 1),
        ("’tis", 1),
        ("rock ’n’ roll", 3),
        ("1,000 ships", 3),
        ("孔乙己", 3),
        ("孔乙己 reads", 4),
        ("naïve cafe\u0301", 2),
        ("𝒜𝓃𝓃𝒶 left", 2),
        ("* * *", 0),
    ],
)
def test_words_are_counted_as_people_count_them(text: str, words: int) -> None:
    assert count_words(text) == words


def test_counting_is_additive_over_paragraphs() -> None:
    text = "One two.\n\n“Three’s four,” said 5.\n\n* * *\n\n六"
    assert count_words(text) == sum(count_words(block) for block in paragraphs(text)) == 7


@pytest.mark.parametrize(
    ("words", "rounded"), [(-5, 10), (0, 10), (14, 14), (99, 99), (104, 100), (105, 110), (995, 1000), (8870, 8900)]
)
def test_round_words(words: int, rounded: int) -> None:
    assert round_words(words) == rounded


def test_rounding_is_never_off_by_more_than_a_twentieth() -> None:
    assert all(abs(round_words(words) - words) <= words / 20 for words in range(10, 20_000))


def test_a_fresh_request_names_brief_and_length_only() -> None:
    [message] = story_request(title="The Lamp", premise="A lamp is lost.", target=9000)
    assert message == {
        "role": "user",
        "content": "Write a short story.\nTitle: The Lamp\nPremise: A lamp is lost.\n"
        "The story should be approximately 9000 words long.",
    }


def test_a_note_says_what_is_written_and_left() -> None:
    note = length_note(target=9000, written=2031)
    assert note == {
        "role": "user",
        "content": "About 2000 words are written. About 7000 words are left. Go on from the last word.",
    }
    landing = length_note(target=9000, written=8937, landing=True)
    assert "About 63 words are left: bring the story to its end within them." in landing["content"]


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("", ""),
        ("One", "One"),
        ("It rained. He left. Then he", "Then he"),
        ("It rained. He left.", "He left."),
        ("It rained. He left.\n\n", "He left.\n\n"),
        ("It rained.\n\n“No,” he said. “Go", "“Go"),
        ("A heading\n\nThen", "Then"),
        ("下雨了。他走了。", "他走了。"),
        ("word " * 100, "word " * 60),
    ],
)
def test_the_last_sentence(text: str, last: str) -> None:
    assert text[last_sentence(text) :] == last


def test_the_last_sentence_is_short_and_begins_with_a_word() -> None:
    for text in ("word " * 5000, "x" * 5000, "孔" * 5000, "a\n" * 900):
        place = last_sentence(text)
        assert len(text) - place <= 302
        assert not text[place].isspace()


def test_what_postgresql_cannot_hold_is_replaced_one_for_one() -> None:
    assert storable("a\x00b\ud800c😀") == "a�b�c😀"
