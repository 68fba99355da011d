"""Kills at random times, one after the other: a dozen with the other tests, a thousand with `make soak`."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

import pytest

from tests.faults.narrators import NarratorProcess, check_log, check_numbered, log_of, make_story, wait_for, wait_state
from tests.upstream.process import Upstream
from writer.stories.models import Generation, State

Narrate = Callable[..., NarratorProcess]


def kill_at_random(narrate: Narrate, upstream: Upstream, kills: int, seed: int) -> None:
    """Kill narrators and upstreams while six stories are being written, with new stories for those that are done."""
    chance = random.Random(seed)
    upstream.script(rate=200, think=20)
    stories = [make_story(target=chance.randint(200, 900)) for _ in range(6)]
    narrators = [narrate(), narrate()]
    seen: dict[object, str] = {}
    killed = 0
    while killed < kills:
        time.sleep(chance.uniform(0.05, 1.5))
        for story in stories:
            text = log_of(story)
            assert text.startswith(seen.get(story.pk, ""))
            seen[story.pk] = text
        match chance.choices(("kill", "term", "freeze", "upstream"), (5, 2, 1, 2))[0]:
            case "upstream":
                upstream.kill()
                time.sleep(chance.uniform(0, 0.5))
                upstream.start()
                upstream.script(rate=200, think=20)
            case "freeze":
                narrator = chance.choice(narrators)
                narrator.signal(signal.SIGSTOP)
                time.sleep(chance.uniform(0.1, 2.5))
                narrator.signal(signal.SIGCONT)
            case how:
                narrator = narrators.pop(chance.randrange(len(narrators)))
                narrator.stop() if how == "term" else narrator.kill()
                narrators.append(narrate())
        killed += 1
        for index, story in enumerate(stories):
            story.refresh_from_db()
            if story.state == State.DONE:
                check_numbered(story)
                if killed < kills:
                    stories[index] = make_story(target=chance.randint(200, 900))
    for story in stories:
        wait_state(story, State.DONE, seconds=60)
        assert check_numbered(story).startswith(seen.get(story.pk, ""))
    wait_for(lambda: not Generation.objects.exclude(state=State.DONE).exists())
    for story in Generation.objects.all():
        check_log(story)


def test_a_dozen_kills(narrate: Narrate, upstream: Upstream) -> None:
    kill_at_random(narrate, upstream, 12, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_a_thousand_kills(narrate: Narrate, upstream: Upstream, seed: int) -> None:
    kill_at_random(narrate, upstream, 50, seed)
