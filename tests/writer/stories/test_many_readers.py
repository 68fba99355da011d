"""Many readers on one web process: all get everything, quickly, with little CPU time."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis.asyncio
from django.conf import settings
from websockets.asyncio.client import connect

from writer.accounts.models import ApiToken, User
from writer.stories.models import Generation, ModelVersion, Revision, State, Story
from writer.stories.wake import generation_channel

READERS = int(os.environ.get("READERS", "60"))
ROUNDS = int(os.environ.get("ROUNDS", "10"))
PER_SECOND = 2
MOST_LATE = 0.5
MOST_OF_A_CORE = 0.5


@pytest.fixture
def web(transactional_db: None, process_env: dict[str, str], free_port: Callable[[], int]) -> Iterator[tuple[str, int]]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "webapp.asgi:application", "--port", str(port), "--lifespan", "off",
         "--log-level", "warning", "--timeout-graceful-shutdown", "1", "--ws-per-message-deflate", "false"],
        env=process_env,
    )  # fmt: skip
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1)
                break
            except OSError:
                time.sleep(0.1)
        yield f"127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait(10)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def generations(owner: User, model: ModelVersion) -> list[str]:
    """One story each, all being written."""
    made = []
    for number in range(READERS):
        story = Story.objects.create(owner=owner, title=str(number), premise="p", target_words=600)
        base = Revision.objects.create(story=story, text="")
        story.head = base
        story.save()
        row = Generation.objects.create(
            story=story, base=base, model=model, target_words=600, state=State.RUNNING, lease_until="2100-01-01T00:00Z"
        )
        made.append(str(row.pk))
    return made


@pytest.mark.processes
def test_every_reader_gets_every_chunk_soon(owner: User, model: ModelVersion, web: tuple[str, int]) -> None:
    host, pid = web
    _, secret = ApiToken.issue(owner, "script")
    ids = generations(owner, model)
    empty = memory_kib(pid)
    lateness, used, full = asyncio.run(_read(host, pid, secret, ids))
    share = used / (ROUNDS / PER_SECOND)
    p95 = statistics.quantiles(lateness, n=20)[18]
    print(
        f"\n{READERS} readers, {PER_SECOND} chunks/s each: p95 {p95 * 1000:.0f} ms, {share:.2f} of a core, "
        f"{(full - empty) / READERS:.0f} KiB a socket"
    )
    assert len(lateness) == READERS * ROUNDS
    assert p95 < MOST_LATE
    assert share < MOST_OF_A_CORE


async def _read(host: str, pid: int, secret: str, ids: list[str]) -> tuple[list[float], float, int]:
    lateness: list[float] = []
    ready = asyncio.Semaphore(0)

    async def reader(generation: str) -> None:
        headers = {"Authorization": f"Bearer {secret}"}
        async with connect(f"ws://{host}/ws/generations/{generation}", additional_headers=headers) as socket:
            await socket.recv()
            ready.release()
            seen = 0
            while seen < ROUNDS:
                message = json.loads(await socket.recv())
                if message["type"] == "chunk":
                    assert message["seq"] == seen + 1
                    seen += 1
                    lateness.append(time.time() - float(message["text"]))

    async with asyncio.TaskGroup() as group:
        for generation in ids:
            group.create_task(reader(generation))
        for _ in ids:
            await ready.acquire()
        full, before = memory_kib(pid), cpu_seconds(pid)
        client = redis.asyncio.Redis.from_url(settings.REDIS_URL)
        for seq in range(1, ROUNDS + 1):
            began = time.monotonic()
            for generation in ids:
                chunk = {"type": "chunk", "first": seq, "seq": seq, "channel": "story", "start": 0, "words": 1}
                body = json.dumps(chunk | {"text": str(time.time())})
                await client.publish(generation_channel(generation), f"{seq} {body}")
            await asyncio.sleep(max(0.0, 1 / PER_SECOND - (time.monotonic() - began)))
        used = cpu_seconds(pid) - before
        await client.aclose()
    return lateness, used, full
