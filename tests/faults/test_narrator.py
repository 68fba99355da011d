"""Kill, freeze and stop narrators: the text at that time is a prefix of the final text, with no word lost or doubled."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

import pytest

from tests.faults.narrators import (
    LEASE,
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
from writer.stories.models import Chunk, Generation, State, Wish
from writer.stories.wake import call_narrators

Narrate = Callable[..., NarratorProcess]


def test_a_story_is_written_to_its_end(narrate: Narrate, upstream: Upstream) -> None:
    generation = make_story(target=300)
    narrate(LEASE_SECONDS="20")
    wait_state(generation, State.DONE)
    check_numbered(generation)
    assert generation.attempt == 1
    wait_for(lambda: upstream.stats()["running"] == 0, 5, "the upstream still writes")


def test_kill(narrate: Narrate) -> None:
    generation = make_story(target=400)
    first = narrate()
    wait_words(generation, 60)
    first.kill()
    before = log_of(generation)
    narrate()
    wait_state(generation, State.DONE)
    assert check_numbered(generation).startswith(before)
    assert generation.attempt >= 2


def test_kill_inside_a_think_part(narrate: Narrate, upstream: Upstream) -> None:
    upstream.script(think=400)
    generation = make_story(target=300)
    first = narrate()
    wait_for(lambda: len(log_of(generation, "thinking")) > 100)
    first.kill()
    before = log_of(generation, "thinking")
    assert log_of(generation) == ""
    narrate()
    wait_state(generation, State.DONE)
    check_numbered(generation)
    thinking = log_of(generation, "thinking")
    assert thinking.startswith(before)
    assert thinking.split() == [f"t{number}" for number in range(1, 401)]


def test_frozen_past_its_lease_and_woken(narrate: Narrate, upstream: Upstream) -> None:
    upstream.script(rate=60)
    generation = make_story(target=400)
    frozen = narrate()
    wait_words(generation, 30)
    frozen.signal(signal.SIGSTOP)
    time.sleep(LEASE)
    second = narrate()
    wait_for(lambda: Generation.objects.get(pk=generation.pk).attempt == 2)
    wait_for(lambda: Chunk.objects.filter(generation=generation, attempt=2).exists())
    frozen.signal(signal.SIGCONT)
    late = Chunk.objects.filter(generation=generation, attempt=1).count()
    wait_for(lambda: "lease_lost" in frozen.log.read_text(), 10, "the frozen one did not notice")
    upstream.script(rate=300)
    wait_state(generation, State.DONE)
    check_numbered(generation)
    assert Chunk.objects.filter(generation=generation, attempt=1).count() == late
    assert frozen.alive
    assert second.alive


def test_stopped_gracefully(narrate: Narrate) -> None:
    generation = make_story(target=400)
    first = narrate()
    wait_words(generation, 60)
    began = time.monotonic()
    assert first.stop() == 0
    assert time.monotonic() - began < 5
    generation.refresh_from_db()
    assert generation.state == State.RUNNING
    assert generation.lease_until is not None
    narrate()
    wait_state(generation, State.DONE)
    check_numbered(generation)


def test_stopped_while_it_starts(transactional_db: None, upstream: Upstream) -> None:
    """At any moment of it. One in four went on for ever: redis takes a cancellation while it connects for a lost connection."""
    chance = random.Random(1)
    for _ in range(40):
        with narrator_here(upstream.url):
            time.sleep(chance.choice([0.0, chance.uniform(0, 0.01), chance.uniform(0, 0.06)]))


@pytest.mark.parametrize(("wish", "state"), [(Wish.PAUSE, State.PAUSED), (Wish.STOP, State.STOPPED)])
def test_wishes(narrate: Narrate, upstream: Upstream, wish: Wish, state: State) -> None:
    upstream.script(rate=60)
    generation = make_story(target=300)
    narrate()
    wait_words(generation, 20)
    Generation.objects.filter(pk=generation.pk).update(wish=wish)
    call_narrators(generation.pk)
    began = time.monotonic()
    wait_state(generation, state)
    assert time.monotonic() - began < 1.5
    assert generation.wish == ""
    before = check_log(generation)
    wait_for(lambda: upstream.stats()["running"] == 0, 5, "the upstream still writes")
    upstream.script(rate=300)
    Generation.objects.filter(pk=generation.pk).update(state=State.QUEUED)
    call_narrators(generation.pk)
    wait_state(generation, State.DONE)
    assert check_numbered(generation).startswith(before)


def test_a_wish_outlives_its_narrator(narrate: Narrate) -> None:
    generation = make_story(target=400)
    first = narrate()
    wait_words(generation, 30)
    first.kill()
    Generation.objects.filter(pk=generation.pk).update(wish=Wish.STOP)
    narrate()
    wait_state(generation, State.STOPPED)
    check_log(generation)


def test_a_wake_up_call_that_is_lost(narrate: Narrate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.faults.narrators.call_narrators", lambda _: None)
    narrator = narrate()
    wait_for(lambda: "narrating" in narrator.log.read_text())
    time.sleep(1)
    generation = make_story(target=200)
    wait_state(generation, State.DONE, seconds=15)
    check_numbered(generation)


def test_the_queue_waits_for_room(narrate: Narrate, upstream: Upstream) -> None:
    upstream.script(rate=100)
    stories = [make_story(target=200) for _ in range(5)]
    for _ in range(2):
        narrate(STREAMS="2")
    most = 0
    while Generation.objects.exclude(state=State.DONE).exists():
        most = max(most, Generation.objects.filter(state=State.RUNNING).count())
        time.sleep(0.01)
    assert most == 2
    started = [Generation.objects.get(pk=story.pk).started for story in stories]
    assert started == sorted(started)  # type: ignore[type-var]
    for story in stories:
        check_numbered(story)


def test_a_story_that_breaks_every_narrator_is_given_up(narrate: Narrate) -> None:
    generation = make_story(target=200)
    Generation.objects.filter(pk=generation.pk).update(
        state=State.RUNNING, attempt=5, failures=4, lease_until="2020-01-01T00:00Z"
    )
    narrate()
    wait_state(generation, State.FAILED)
    assert "five times" in generation.notice
