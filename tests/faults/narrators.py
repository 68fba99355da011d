"""The parts that the fault tests break: a narrator as a process, and stories as rows."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

from django.conf import settings
from django.db import connection, transaction

from tests.upstream.process import ROOT
from tests.upstream.script import story as numbered
from training.common.text import count_words
from workers.narrator.calls import Calls
from workers.narrator.narrator import Narrator
from workers.narrator.store import Store
from workers.narrator.upstream import ModelServer
from writer.accounts.models import User
from writer.stories.models import Chunk, Generation, ModelVersion, Revision, State, Story
from writer.stories.wake import call_narrators

LEASE = 1.5


class NarratorProcess:
    """`manage.py narrate` as it runs in production, with a short lease."""

    def __init__(self, env: Mapping[str, str], url: str, log: Path, key: str = "", **settings: str) -> None:
        self.log = log
        environment = dict(env) | {
            "MODEL_SERVER_URL": url,
            "MODEL_SERVER_KEY": key,
            "LEASE_SECONDS": str(LEASE),
            "LOG_JSON": "1",
        } | settings  # fmt: skip
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), "narrate"], env=environment, cwd=ROOT, stdout=out, stderr=out
            )

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        if self.alive:
            self.signal(signal.SIGKILL)
            self.process.wait(10)

    def stop(self, seconds: float = 10) -> int:
        """End it as a deploy does; returns its exit status."""
        if self.alive:
            self.signal(signal.SIGTERM)
        return self.process.wait(seconds)


def make_story(
    *, target: int = 300, text: str = "", model: tuple[str, str] = ("scripted", str(ROOT / "demo" / "model")), title: str = "The tide",
    premise: str = "A harbour counts its waves.", sampling: dict[str, object] | None = None,
) -> Generation:  # fmt: skip
    """A story that waits in the queue, as the writer's operations leave it."""
    with transaction.atomic():
        user, _ = User.objects.get_or_create(email="writer@example.org")
        version, _ = ModelVersion.objects.get_or_create(
            name=model[0], defaults={"served_name": model[0], "tokenizer": model[1]}
        )
        story = Story.objects.create(owner=user, title=title, premise=premise, target_words=target)
        revision = Revision(story=story, text=text, author=user)
        generation = Generation.objects.create(
            story=story, base_id=revision.pk, model=version, target_words=target, sampling=sampling or {}
        )
        revision.generation = generation
        revision.save(force_insert=True)
        story.head = revision
        story.save()
    call_narrators(generation.pk)
    return generation


def log_of(generation: Generation, channel: str = "story") -> str:
    chunks = Chunk.objects.filter(generation=generation, channel=channel).order_by("seq")
    return "".join(chunks.values_list("text", flat=True))


def wait_for(what: Callable[[], object], seconds: float = 30, why: str = "") -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, why or "it did not happen in time"
        time.sleep(0.02)


def wait_words(generation: Generation, words: int, seconds: float = 30) -> str:
    """Wait until the log has so many words; returns it."""
    wait_for(lambda: count_words(log_of(generation)) >= words, seconds, f"no {words} words in {seconds} s")
    return log_of(generation)


def wait_state(generation: Generation, *states: State, seconds: float = 40) -> Generation:
    def there() -> bool:
        generation.refresh_from_db()
        return generation.state in states

    try:
        wait_for(there, seconds)
    except AssertionError:
        raise AssertionError(f"{generation.state} ({generation.notice}) after {seconds} s, not {states}") from None
    return generation


def check_log(generation: Generation) -> str:
    """What always holds: sequence numbers and offsets without a gap, and a row that agrees with its log."""
    generation.refresh_from_db()
    lengths = {"story": 0, "thinking": 0}
    attempt = 0
    for expected, chunk in enumerate(Chunk.objects.filter(generation=generation).order_by("seq"), 1):
        assert chunk.seq == expected
        assert chunk.start == lengths[chunk.channel]
        assert chunk.attempt >= attempt
        attempt = chunk.attempt
        lengths[chunk.channel] += len(chunk.text)
    text = log_of(generation)
    assert (generation.story_chars, generation.thinking_chars) == (lengths["story"], lengths["thinking"])
    assert generation.last_seq == Chunk.objects.filter(generation=generation).count()
    return text


def check_numbered(generation: Generation, *, ending: str | None = None) -> str:
    """The story is the numbered words from 1 on, none lost and none doubled, and came to its end by itself."""
    text = check_log(generation)
    assert text == numbered(generation.words), f"...{text[-200:]}"
    assert generation.state == State.DONE
    assert generation.ending in ((ending,) if ending else ("ended", "landed"))
    assert abs(generation.words - generation.target_words) <= 0.1 * generation.target_words
    return text


def check_ended(generation: Generation, before: str) -> None:
    """The story of a real model came to its end by itself, with `before` as it was."""
    wait_state(generation, State.DONE, seconds=180)
    assert check_log(generation).startswith(before)
    assert generation.ending in ("ended", "landed")
    assert abs(generation.words - generation.target_words) <= 0.1 * generation.target_words


@contextmanager
def narrator_here(url: str, *, silence: float = 60.0) -> Iterator[Narrator]:
    """A narrator in a thread of this process, where a test can set what no person needs to."""
    parameters = connection.get_connection_params()
    for name in ("cursor_factory", "context"):
        parameters.pop(name, None)
    ready: Queue[tuple[Narrator, asyncio.AbstractEventLoop]] = Queue()

    async def life() -> None:
        narrator = Narrator(
            Store(parameters, holder="here", lease=LEASE, streams=8),
            ModelServer(url, answer_seconds=silence),
            Calls(settings.REDIS_URL),
        )
        ready.put((narrator, asyncio.get_running_loop()))
        await narrator.run()

    thread = threading.Thread(
        target=asyncio.run, args=[life()], daemon=True
    )  # one that hangs is a failure, not the end of all tests
    thread.start()
    narrator, loop = ready.get(timeout=10)
    try:
        yield narrator
    finally:
        loop.call_soon_threadsafe(narrator.stop)
        thread.join(15)
        assert not thread.is_alive()
