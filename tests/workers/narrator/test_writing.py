"""The length contract and the guard on texts that we write ourselves, without any server."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.common.text import count_words
from workers.narrator.writing import Decision, Writing


def writing(target: int, text: str = "", **loaded: Any) -> Writing:
    row = {
        "id": uuid4(), "story_id": uuid4(), "attempt": 1, "title": "", "premise": "", "sampling": {}, "target_words": target,
        "last_seq": 0, "head": uuid4(), "story": "", "thinking": "", "text": text, "absorbed": 0,
    }  # fmt: skip
    return Writing(SimpleNamespace(**row | loaded))


class Author:
    """Writes sentences of random length for ever; ends its turn once, where it is told to."""

    def __init__(self, seed: int, longest: int = 40) -> None:
        self.random = random.Random(seed)
        self.longest = longest
        self.words = 0

    def sentence(self) -> str:
        size = self.random.randint(1, self.longest)
        words = [f"w{self.words + number}" for number in range(size)]
        self.words += size
        text = " ".join(words).capitalize() + "."
        if self.random.random() < 0.3:
            text = f"“{text}”"
        return text + ("\n\n" if self.random.random() < 0.2 else " ")


def run(story: Writing, author: Author, *, stops_at: int | None = None, seed: int = 0) -> tuple[str, int]:
    """Let the author write until the story is over; returns the text and the number of requests."""
    pieces = random.Random(seed)
    requests = 0
    while True:
        story.begin(opens_thinking=False)
        requests += 1
        assert requests < 60
        while True:
            text = author.sentence()
            finish = None
            if stops_at is not None and story.words + count_words(text) >= stops_at:
                finish, stops_at = "stop", None
            size = pieces.randint(1, 60)
            decision = Decision.CONTINUE
            parts = [text[at : at + size] for at in range(0, len(text), size)]
            for number, part in enumerate(parts, 1):
                decision = story.advance(part, finish if number == len(parts) else None)
                if decision is not Decision.CONTINUE:
                    break
            if decision is not Decision.CONTINUE:
                break
        if decision is not Decision.AGAIN:
            assert decision is Decision.OVER
            return story.text, requests


@settings(max_examples=25, deadline=None)
@given(st.integers(200, 2500), st.integers(0, 10**6))
def test_who_never_stops_is_landed_at_the_end_of_a_sentence(target: int, seed: int) -> None:
    story = writing(target)
    text, requests = run(story, Author(seed), seed=seed)
    assert story.ending == "landed"
    assert text.rstrip("”").endswith(".")
    assert abs(count_words(text) - target) <= (0.05 if target >= 2000 else 0.1) * target
    assert story.words == count_words(text)
    assert requests < 20


@settings(max_examples=25, deadline=None)
@given(st.integers(200, 2500), st.floats(0.3, 1.04), st.integers(0, 10**6))
def test_who_stops_too_early_goes_on(target: int, share: float, seed: int) -> None:
    story = writing(target)
    text, _ = run(story, Author(seed), stops_at=int(share * target), seed=seed)
    assert story.ending in ("landed", "ended")
    assert abs(count_words(text) - target) <= 0.1 * target


def test_the_model_ends_by_itself() -> None:
    story = writing(1000)
    story.begin(opens_thinking=False)
    decision = Decision.CONTINUE
    author = Author(1)
    while decision is Decision.CONTINUE:  # it is asked to land, but the request before that ends well too
        decision = story.advance(author.sentence(), None)
    assert decision is Decision.AGAIN
    short = writing(200)
    short.begin(opens_thinking=False)
    assert short.advance(" ".join(f"w{number}" for number in range(199)) + ".", "stop") is Decision.OVER
    assert short.ending == "ended"


def test_a_text_without_sentences_is_cut_and_says_so() -> None:
    story = writing(200)
    for _ in range(10):
        story.begin(opens_thinking=False)
        decision = Decision.CONTINUE
        number = story.words
        while decision is Decision.CONTINUE:
            number += 1
            decision = story.advance(f" w{number}", None)
        if decision is Decision.OVER:
            break
    assert story.ending == "cut"
    assert story.words <= 210


def test_an_edit_is_read_at_the_next_paragraph() -> None:
    story = writing(2000)
    story.begin(opens_thinking=False)
    assert story.advance("One two three.\n\nFour five six. ", None) is Decision.CONTINUE
    story.take()
    head = uuid4()
    story.rebase(head, "Edited one two three.", len("One two three."))
    assert story.words == 7
    assert story.advance("Seven eight.", None) is Decision.CONTINUE
    assert story.advance(" Nine.\n\nTen more", None) is Decision.AGAIN
    written, _ = story.begin(opens_thinking=False)
    assert written.text == "Edited one two three.\n\nFour five six. Seven eight. Nine."
    assert written.new_paragraph
    assert story.advance("Ten eleven. ", None) is Decision.CONTINUE
    row, chunks, _ = story.take()
    assert chunks[-1].text.endswith("Nine.\n\nTen eleven.")
    assert row.words == count_words(story.text) == 12


def test_text_that_goes_on_from_a_base() -> None:
    story = writing(300, "What there was.")
    story.begin(opens_thinking=False)
    story.advance("And more of it. ", None)
    row, chunks, _ = story.take()
    assert [chunk.text for chunk in chunks] == ["\n\nAnd more of it."]
    assert (row.words, row.story_chars) == (7, 17)
    again = writing(300, "What there was.", story="\n\nAnd more of it.")
    again.begin(opens_thinking=False)
    again.advance(" Still. ", None)
    assert again.take()[1][0].text == " Still."


@pytest.mark.parametrize("period", [3, 30, 120])
def test_a_loop_is_kept_out_of_the_text(period: int) -> None:
    story = writing(3000)
    story.begin(opens_thinking=False)
    words = " ".join(f"w{number}" for number in range(300)) + ". "
    story.advance(words, None)
    loop = " ".join(f"x{number}" for number in range(period)) + ". "
    decision = Decision.CONTINUE
    for number in range(500):
        decision = story.advance(loop.split()[number % period] + " ", None)
        if decision is not Decision.CONTINUE:
            break
    assert decision is Decision.AGAIN
    assert story.recent_loops() == 1
    kept = story.text.split()
    assert len(kept) - len(set(kept)) <= 16
    for loops in range(2, 11):
        assert decision is Decision.AGAIN
        story.begin(opens_thinking=False)
        decision = Decision.CONTINUE
        number = story.words - 300
        while decision is Decision.CONTINUE:
            decision = story.advance(loop.split()[number % period] + " ", None)
            number += 1
        assert story.recent_loops() == loops
    assert decision is Decision.FAILED
    assert "repeating" in story.notice


def test_planning_that_does_not_end_is_ended() -> None:
    story = writing(300)
    written, _ = story.begin(opens_thinking=True)
    assert written.inside_thinking
    for number in range(2000):
        story.advance(f" plan {number}", None)
        if story.enough_thinking(1000):
            break
    assert number < 400
    written, _ = story.begin(opens_thinking=True)
    assert not written.inside_thinking
    assert written.thinking.startswith("plan 0")
    story.advance("Once upon a time. ", None)
    row, chunks, words = story.take()
    assert [chunk.channel for chunk in chunks] == ["thinking", "story"]
    assert words == [0, 4]
    assert row.words == 4


def test_an_end_that_was_written_before_the_kill_is_seen() -> None:
    text = " ".join(f"W{number}" for number in range(195)) + "."
    assert writing(200, story=text).complete
    assert not writing(200, story=text + " And").complete
    assert not writing(200, story="“" + text).complete
    assert not writing(300, story=text).complete
    assert not writing(200, text).complete  # asked to go on from here, it goes on


def test_a_writer_who_adds_more_than_was_asked_ends_the_story_with_the_sentence() -> None:
    story = writing(200)
    story.begin(opens_thinking=False)
    story.advance("It began here.\n\nThen it went ", None)
    story.take()
    story.rebase(uuid4(), " ".join(["word"] * 400) + ".", len("It began here."))
    story.begin(opens_thinking=False)
    assert story.advance(" on for a ", None) is Decision.CONTINUE
    assert story.advance("while. Then ", None) is Decision.OVER
    assert story.ending == "landed"
    assert story.text.endswith("on for a while.")
