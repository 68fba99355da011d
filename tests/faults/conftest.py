from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cast import admin, make_editor
from tests.faults.narrators import NarratorProcess
from tests.servers import DEMO_MODEL
from tests.upstream.process import Upstream
from tests.workers.jobs.site import base, here, keeper, queued, site
from training.serving.vllm import ModelServer, importable

__all__ = ["admin", "base", "here", "keeper", "make_editor", "queued", "site"]

HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.processes)


@pytest.fixture(scope="package")
def own_model() -> Iterator[ModelServer]:
    """A vLLM of these tests alone: one of them kills it. They are the group "own model server"."""
    if not importable():
        pytest.skip("vLLM is not installed here (requirements/cpu.txt or requirements/gpu.txt)")
    server = ModelServer(str(DEMO_MODEL), "demo")
    server.start(stdout=subprocess.DEVNULL)
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """The scripted model server, at 300 words a second for each story."""
    server = Upstream()
    yield server
    server.stop()


@pytest.fixture
def narrate(
    transactional_db: None, process_env: dict[str, str], upstream: Upstream, tmp_path: Path
) -> Iterator[Callable[..., NarratorProcess]]:
    """Start a narrator on this test's database; all are killed at the end."""
    started: list[NarratorProcess] = []

    def start(**settings: Any) -> NarratorProcess:
        env = settings.pop("env", process_env)
        url = settings.pop("url", upstream.url)
        narrator = NarratorProcess(env, url, tmp_path / f"narrator-{len(started)}.log", **settings)
        started.append(narrator)
        return narrator

    yield start
    for narrator in started:
        narrator.kill()
        print(narrator.log.read_text()[-4000:])
