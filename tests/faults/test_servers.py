"""PostgreSQL restarted and Redis killed while a narrator continues; narrators killed before vLLM (test_switch kills vLLM)."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from django.core.management import call_command
from django.db import connection

from tests.faults.narrators import (
    NarratorProcess,
    check_ended,
    check_numbered,
    log_of,
    make_story,
    wait_for,
    wait_state,
    wait_words,
)
from tests.reader import Reader
from tests.upstream.process import ROOT, Upstream
from training.common.text import count_words
from training.serving.vllm import ModelServer
from workers.embedded.postgres import PostgreSQL
from workers.embedded.redis import Redis
from workers.embedded.state import home, server_owner
from writer.stories.models import Generation, State
from writer.stories.wake import generation_channel

Narrate = Callable[..., NarratorProcess]


def _disconnect() -> None:
    """Leave no connection of Django's open, nor one that waits in its pool."""
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL's wrapper has it


@pytest.fixture
def own_postgres(django_db_setup: None, django_db_blocker) -> Iterator[PostgreSQL]:  # type: ignore[no-untyped-def]
    """A PostgreSQL of this test alone, with our tables in it; Django talks to it until the test is over."""
    server = PostgreSQL(home(Path(tempfile.mkdtemp(prefix="longhand-faults-")), server_owner()), durable=False)
    server.prepare()
    server.start()
    server.wait_ready()
    before = dict(connection.settings_dict)
    with django_db_blocker.unblock():
        _disconnect()
        place = {"NAME": "longhand", "HOST": str(server.folder), "PASSWORD": server.password, "PORT": ""}
        if server.port:
            place |= {"HOST": "127.0.0.1", "PORT": str(server.port)}
        connection.settings_dict.update(place)
        try:
            call_command("migrate", verbosity=0, run_syncdb=True)
            yield server
        finally:
            _disconnect()
            connection.settings_dict.update(before)
            server.stop()


def test_postgresql_restarted(own_postgres: PostgreSQL, upstream: Upstream, tmp_path: Path) -> None:
    upstream.script(rate=150)
    generation = make_story(target=600)
    narrator = NarratorProcess(dict(os.environ) | {"DATABASE_URL": own_postgres.url}, upstream.url, tmp_path / "log")
    try:
        wait_words(generation, 60)
        before = log_of(generation)
        for how in (signal.SIGQUIT, signal.SIGINT):  # once as a crash, once properly
            _disconnect()
            assert own_postgres.process is not None
            os.kill(own_postgres.process.pid, how)
            own_postgres.stop()
            time.sleep(1)
            own_postgres.start()
            own_postgres.wait_ready()
            time.sleep(0.5)
        wait_state(generation, State.DONE)
        assert check_numbered(generation).startswith(before)
        assert narrator.alive
        assert "postgres_away" in narrator.log.read_text()
    finally:
        narrator.kill()


def test_redis_killed(narrate: Narrate, upstream: Upstream, process_env: dict[str, str], tmp_path: Path) -> None:
    upstream.script(rate=100)
    server = Redis(Path(tempfile.mkdtemp(prefix="longhand-faults-")))
    server.prepare()
    process = server.start()
    server.wait_ready()
    try:
        generation = make_story(target=500)
        narrator = narrate(env=process_env | {"REDIS_URL": server.url})
        wait_words(generation, 30)
        os.kill(process.pid, signal.SIGKILL)
        server.stop()
        words = generation.words
        wait_for(lambda: Generation.objects.get(pk=generation.pk).words > words + 40)
        server.start()
        server.wait_ready()
        reader = Reader()
        with redis.Redis.from_url(server.url).pubsub(ignore_subscribe_messages=True) as calls:
            calls.subscribe(generation_channel(generation.pk))
            wait_for(lambda: _hear(calls, reader) > 0, 10, "no call came after Redis was back")
        wait_state(generation, State.DONE)
        check_numbered(generation)
        assert narrator.alive
    finally:
        server.stop()


def _hear(calls: redis.client.PubSub, reader: Reader) -> int:
    """Take one call; the reader is put where it would be, had it read PostgreSQL. Returns its seq."""
    message = calls.get_message(timeout=0.1)
    if message is not None and message["data"] != b"state":
        seq, _, body = message["data"].partition(b" ")
        chunk = json.loads(body)
        assert chunk["type"] == "chunk"
        assert chunk["seq"] == int(seq)
        reader.seq, reader.channels[chunk["channel"]] = chunk["first"] - 1, "." * chunk["start"]
        assert reader.receive(chunk) is None
    return reader.seq


@pytest.mark.model
@pytest.mark.xdist_group("own model server")
class TestRealModelServer:
    """Each fault once with vLLM and the demo model, whose words nobody can foresee."""

    def _make(self, target: int) -> Generation:
        return make_story(target=target, model=("demo", str(ROOT / "demo" / "model")))

    def test_narrator_killed_and_another_frozen(self, narrate: Narrate, own_model: ModelServer) -> None:
        generation = self._make(500)
        # A longer lease than elsewhere: vLLM starves its neighbours on two cores.
        upstream = {"url": own_model.url, "key": own_model.key, "LEASE_SECONDS": "5"}
        first = narrate(**upstream)
        wait_words(generation, 40, 90)
        first.kill()
        before = log_of(generation)
        second = narrate(**upstream)
        wait_words(generation, count_words(before) + 30, 90)
        second.signal(signal.SIGSTOP)
        attempt = Generation.objects.get(pk=generation.pk).attempt
        narrate(**upstream)
        wait_for(lambda: Generation.objects.get(pk=generation.pk).attempt > attempt)
        before = log_of(generation)
        second.signal(signal.SIGCONT)
        check_ended(generation, before)
        wait_for(lambda: "lease_lost" in second.log.read_text())

    def test_a_stopped_story_is_aborted(self, narrate: Narrate, own_model: ModelServer) -> None:
        generation = self._make(3000)
        narrate(url=own_model.url, key=own_model.key)
        wait_words(generation, 40, 90)
        assert _running(own_model) == 1
        Generation.objects.filter(pk=generation.pk).update(wish="stop")
        wait_state(generation, State.STOPPED)
        wait_for(lambda: _running(own_model) == 0, 5, "vLLM goes on writing for nobody")


def _running(model: ModelServer) -> int:
    """What vLLM says of itself: requests that it is working on."""
    import httpx

    metrics = httpx.get(f"{model.url}/metrics", headers={"Authorization": f"Bearer {model.key}"}).text
    lines = [line for line in metrics.splitlines() if line.startswith("vllm:num_requests_running")]
    return int(float(lines[0].rsplit(" ", 1)[1]))
