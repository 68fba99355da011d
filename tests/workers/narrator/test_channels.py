from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.common.text import count_words
from workers.narrator.channels import Splitter, Tidy
from writer.stories.models import Channel

PIECES = st.lists(
    st.sampled_from(["word", "don't", " ", "  ", "\n", "\n\n", "\r\n", "\r", "\t", ".", "“Yes", "”", "孔乙己", "。", "🌊", "\0", "\ud83d",
                     "\u2028", "\ufeff", "\xa0", "https://example.org/a/b", "x" * 60, "é", "e\u0301"]) | st.text(max_size=5),
    max_size=30,
)  # fmt: skip


def tidy(pieces: list[str], before: str = "", *, blank_line_first: bool = False) -> list[str]:
    """The chunks that come out, the last word included."""
    channel = Tidy(before, blank_line_first=blank_line_first)
    return [chunk for chunk in (*map(channel.feed, pieces), channel.end()) if chunk]


def split(pieces: list[str], *, thinking: bool = False, begun: bool = False) -> dict[Channel, str]:
    splitter = Splitter(thinking=thinking, begun=begun)
    out = {Channel.STORY: "", Channel.THINKING: ""}
    for part in (*map(splitter.feed, pieces), splitter.end()):
        for channel, text in part:
            out[channel] += text
    return out


@given(PIECES, st.booleans())
def test_a_log_is_tidy_however_it_came(pieces: list[str], blank: bool) -> None:
    chunks = tidy(pieces, blank_line_first=blank)
    log = "".join(chunks)
    assert log == "".join(tidy(["".join(pieces)], blank_line_first=blank))
    body = log.removeprefix("\n\n") if blank else log
    assert body == body.strip()
    assert not log or log.startswith("\n\n") == blank
    assert not re.search(r"\n\s*\n\s*\n|[^\S\n]\n|\n[^\S\n]", log)
    assert not re.search("[\0\r\ud800-\udfff\u2028\ufeff]", log)
    log.encode()
    for chunk in chunks:
        assert not chunk[-1].isspace()


@given(st.lists(st.sampled_from(["one ", "two\n\n", "“three” ", "it’s ", "4 "]), max_size=20), st.integers(1, 7))
def test_chunks_end_where_words_end(words: list[str], size: int) -> None:
    text = "".join(words)
    chunks = tidy([text[at : at + size] for at in range(0, len(text), size)])
    assert sum(map(count_words, chunks)) == count_words(text)


def test_what_is_not_english_is_not_held_back_for_ever() -> None:
    assert "".join(tidy(["孔乙己是站着喝酒而穿长衫的唯一的人。他"])[:-1]) == "孔乙己是站着喝酒而穿长衫的唯一的人。"
    long = Tidy("")
    assert long.feed("a" * 200)


def test_a_continuation_begins_behind_the_last_word() -> None:
    assert "".join(tidy([" went", " out."], "The man")) == " went out."
    assert "".join(tidy([", who", " went"], "The man")) == ", who went"
    assert "".join(tidy(["ager", " went", " out."], "The man")) == " went out."
    assert "".join(tidy(["\n\n", "Then"], "The end.", blank_line_first=True)) == "\n\nThen"
    assert "".join(tidy(["乙己"], "孔")) == "乙己"


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    ("before", "sample", "text"),
    [
        ("He left", " the house. Then", "He left the house. Then"),
        ("He left", "the house. Then", "He left house. Then"),
        ("He left", "ness was known. Then", "He left was known. Then"),
        ("the end—", "or not. Then", "the end—or not. Then"),
        ("said “", "Yes. Then", "said “Yes. Then"),
        ("I don’", "t know. Then", "I don’t know. Then"),
        ("I don", "’t know. Then", "I don’t know. Then"),
        ("co-", "operate. Then", "co-operate. Then"),
        ("He ❤️", "her. Then", "He ❤️ her. Then"),
        ("彼は行", "った。それから", "彼は行った。それから"),
        ("彼は行った。", "それから", "彼は行った。それから"),
        ("café", "\u0301s. Then", "café. Then"),
        ("cafe\u0301", "s. Then", "cafe\u0301. Then"),
        ("He left.", "\n\nThen she", "He left.\n\nThen she"),
        ("He left.", "Then she came", "He left. Then she came"),
        ("He left.”", "“Then” she said", "He left.” “Then” she said"),
        ("He left.", "” She said", "He left.” She said"),
        ("No", ". Then she", "No. Then she"),
        ("wait…", "what", "wait…what"),
        ("at 10:", "30", "at 10:30"),
    ],
)
def test_a_continuation_glues_and_doubles_no_word(before: str, sample: str, text: str, size: int) -> None:
    pieces = [sample[at : at + size] for at in range(0, len(sample), size)]
    assert before + "".join(tidy(pieces, before)) == text


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(
    ("text", "story", "thinking"),
    [
        ("Once.", "Once.", ""),
        ("<think>a plan</think>\n\nOnce.", "\n\nOnce.", "a plan"),
        ("\n<think>\n1 < 2 </ 3\n</think><answer>Once.</answer> no more", "Once.", "\n1 < 2 </ 3\n"),
        ("<answer>Once <b>.</answer>", "Once <b>.", ""),
        ("Once a <think> stood here</think>.", "Once a <think> stood here</think>.", ""),
        ("<thin ice", "<thin ice", ""),
        ("<think>never over", "", "never over"),
        ("It ended</answ", "It ended</answ", ""),
    ],
)
def test_channels(text: str, story: str, thinking: str, size: int) -> None:
    out = split([text[at : at + size] for at in range(0, len(text), size)])
    assert (out[Channel.STORY].lstrip(), out[Channel.THINKING]) == (story.lstrip(), thinking)


def test_a_think_part_that_goes_on() -> None:
    assert split(["more</thi", "nk>Once"], thinking=True) == {Channel.THINKING: "more", Channel.STORY: "Once"}
    assert split(["<think>"], begun=True)[Channel.STORY] == "<think>"
