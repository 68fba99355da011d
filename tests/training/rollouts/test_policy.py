"""A server that the run did not start has no adapter of it afterwards, however the run ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.rollouts.fake import FakeServer
from training.config.learner import Lora
from training.rollouts.policy import Policy
from training.rollouts.sync import Adapter, LogprobMismatch

FIXED = np.array([5, 6, 7], np.int32)


async def transfer(server: FakeServer, folder: Path, versions: int, *, restart_before: int = -1) -> list[int]:
    """Transfer adapters; returns how many the server had after each."""
    counts = []
    policy = Policy(
        server,
        Adapter(Lora(rank=4, alpha=8), folder, folder),
        seconds=10,
        tolerance=0.02,
        restarts=2,
        say=lambda _: None,
    )
    async with policy:
        for version in range(versions):
            if version == restart_before:
                server.begin()
            bias = np.full(2, -version - 1, np.float32)
            policy.put({"bias": torch.tensor([-version - 1.0])}, FIXED, bias, version)
            await policy.load()
            counts.append(len(server.adapters))
    return counts


@pytest.fixture
def server() -> Iterator[FakeServer]:
    made = FakeServer()
    yield made
    made.stop()


def test_the_newest_two_stay_while_it_runs_and_none_after_it(server: FakeServer, tmp_path: Path) -> None:
    assert asyncio.run(transfer(server, tmp_path, 4)) == [1, 2, 2, 2]
    assert server.adapters == []


def test_a_server_that_was_restarted_does_not_know_the_old_ones(server: FakeServer, tmp_path: Path) -> None:
    assert asyncio.run(transfer(server, tmp_path, 4, restart_before=2)) == [1, 2, 1, 2]
    assert server.adapters == []


def test_none_stays_of_a_run_that_fails(server: FakeServer, tmp_path: Path) -> None:
    server.astray = 1.0
    with pytest.raises(LogprobMismatch):
        asyncio.run(transfer(server, tmp_path, 1))
    assert "/v1/load_lora_adapter" in server.calls
    assert server.adapters == []
