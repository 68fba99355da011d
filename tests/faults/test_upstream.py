"""A model server that fails in every way: the story waits, continues from its prefix, and reports what happened."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.narrators import (
    NarratorProcess,
    check_log,
    check_numbered,
    log_of,
    make_story,
    narrator_here,
    wait_for,
    wait_state,
    wait_words,
)
from tests.upstream.process import Upstream
from tests.upstream.script import story as numbered
from training.common.text import count_words
from writer.stories.models import Generation, State
from writer.stories.wake import call_narrators

Narrate = Callable[..., NarratorProcess]

FAULTS: list[dict[str, Any]] = [
    {"kind": "close", "after": 50},
    {"kind": "half", "after": 30},
    {"kind": "json", "after": 20},
    {"kind": "garbage", "after": 25},
    {"kind": "error", "after": 15},
    {"kind": "silent_end", "after": 40},
    {"kind": "status", "code": 500},
    {"kind": "status", "code": 503},
    {"kind": "status", "code": 429},
    {"kind": "status", "code": 400, "message": "This model's maximum context length is 10 tokens."},
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault['kind']}{fault.get('code', '')}")
def test_the_story_goes_on_after(fault: dict[str, Any], narrate: Narrate, upstream: Upstream) -> None:
    upstream.script(fault, {"kind": ""}, fault, rate=600)
    generation = make_story(target=250)
    narrate(LEASE_SECONDS="20")
    wait_state(generation, State.DONE)
    check_numbered(generation)
    assert generation.attempt == 1
    assert generation.notice == ""


def test_all_of_them_in_one_story(narrate: Narrate, upstream: Upstream) -> None:
    upstream.script(*FAULTS, rate=600)
    generation = make_story(target=1000)
    narrate()
    wait_state(generation, State.DONE, seconds=60)
    check_numbered(generation)


def test_it_dies_and_comes_back(narrate: Narrate, upstream: Upstream) -> None:
    generation = make_story(target=500)
    narrate(LEASE_SECONDS="20")
    wait_words(generation, 60)
    upstream.kill()
    wait_for(lambda: "unavailable" in Generation.objects.get(pk=generation.pk).notice)
    before = log_of(generation)
    assert Generation.objects.get(pk=generation.pk).state == State.RUNNING
    upstream.start()
    upstream.script(rate=300)
    wait_state(generation, State.DONE)
    assert check_numbered(generation).startswith(before)
    assert (generation.attempt, generation.notice) == (1, "")


def test_it_falls_silent(transactional_db: None, upstream: Upstream) -> None:
    upstream.script({"kind": "stall", "after": 20}, {"kind": "stall", "after": 0})
    generation = make_story(target=200)
    with narrator_here(upstream.url, silence=1):
        wait_state(generation, State.DONE)
    check_numbered(generation)
    wait_for(lambda: upstream.stats()["running"] == 0, 5, "a silent request was not closed")


def test_what_postgresql_cannot_hold(narrate: Narrate, upstream: Upstream) -> None:
    upstream.script(always={"kind": "unstorable"})
    generation = make_story(target=200)
    narrate()
    wait_state(generation, State.DONE)
    text = check_log(generation)
    assert "��" in text
    assert text.replace("�", "") == numbered(generation.words)


def test_without_a_word_it_is_given_up_and_continue_tries_again(narrate: Narrate, upstream: Upstream) -> None:
    upstream.script({"kind": "close", "after": 40}, always={"kind": "status", "code": 500})
    generation = make_story(target=200)
    narrate()
    wait_state(generation, State.FAILED)
    before = check_log(generation)
    assert before
    assert "five times in a row: it answers 500" in generation.notice
    upstream.script()
    Generation.objects.filter(pk=generation.pk).update(state=State.QUEUED, notice="")
    call_narrators(generation.pk)
    wait_state(generation, State.DONE)
    assert check_numbered(generation).startswith(before)


def test_an_endless_one_is_landed(narrate: Narrate, upstream: Upstream) -> None:
    upstream.script(always={"kind": "endless"}, rate=600)
    generation = make_story(target=600)
    narrate()
    wait_state(generation, State.DONE)
    check_numbered(generation, ending="landed")
    wait_for(lambda: upstream.stats()["running"] == 0, 5, "the endless one still writes")


def test_one_that_ends_too_early_goes_on(narrate: Narrate, upstream: Upstream) -> None:
    upstream.script(*[{"kind": "early", "after": 60}] * 6, rate=600)
    generation = make_story(target=500)
    narrate()
    wait_state(generation, State.DONE)
    text = check_log(generation)
    assert text.split() == numbered(generation.words).split()
    assert abs(generation.words - 500) <= 50


def test_a_loop_is_not_in_the_text_and_another_sample_is_tried(narrate: Narrate, upstream: Upstream) -> None:
    upstream.script({"kind": "loop", "after": 100}, rate=600)
    generation = make_story(target=300)
    narrate()
    wait_state(generation, State.DONE)
    text = check_log(generation)
    words = re.findall(r"W\d+", text)
    assert {f"W{number}" for number in range(1, 200)} <= set(words)
    repeated = len(words) - len(set(words))
    assert repeated <= 20, f"{repeated} words of the loop were let through"


def test_one_that_only_loops_is_given_up(narrate: Narrate, upstream: Upstream) -> None:
    upstream.script(always={"kind": "loop", "after": 80}, rate=600)
    generation = make_story(target=2000)
    narrate()
    wait_state(generation, State.FAILED)
    text = check_log(generation)
    assert "repeating itself" in generation.notice
    assert count_words(text) < 600


def test_a_context_much_shorter_than_the_story(
    transactional_db: None, process_env: dict[str, str], tmp_path: Any
) -> None:
    server = Upstream(rate=1000, context=320)
    generation = make_story(target=600)
    narrator = NarratorProcess(process_env, server.url, tmp_path / "narrator.log")
    try:
        wait_state(generation, State.DONE)
        check_numbered(generation)
        assert server.stats()["asked"] >= 4
    finally:
        narrator.kill()
        server.stop()
