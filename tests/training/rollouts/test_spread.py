"""Several rollout servers: all have the weights, each is compared, stories are spread over them, and one that is lost is left out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.training.rollouts.fake import FakeServer
from tests.training.rollouts.test_gather import FIXED, Judge, places, requested
from training.common.errors import MendableError
from training.recipes.grpo import GrpoSettings
from training.rollouts import policy as policies
from training.rollouts import server as servers
from training.rollouts import sync as syncs
from training.rollouts.gather import Gatherer
from training.rollouts.policy import Policy
from training.rollouts.server import OwnServer, make_servers
from training.rollouts.spread import Spread, Stored
from training.rollouts.sync import LogprobMismatch, SharedMemory, make_sync, on_this_machine


class Setup:
    def __init__(self, folder: Path, count: int) -> None:
        self.servers = [FakeServer() for _ in range(count)]
        self.said: list[str] = []
        self.sync, self.folder = SharedMemory(folder / "checkpoints"), folder / "rollouts"
        self.folder.mkdir()
        made = [
            Policy(
                server, Stored(self.sync) if number else self.sync, seconds=20, tolerance=0.01, restarts=2, say=self.said.append
            )
            for number, server in enumerate(self.servers)
        ]  # fmt: skip
        self.policy = Spread(made, self.said.append)

    def open(self) -> Gatherer:
        return Gatherer(
            self.policy, Judge(), self.folder, lambda tokens: " ".join(map(str, tokens)), {"temperature": 1.0}, context=64, most_tokens=40, seed=3,
        )  # fmt: skip

    def put(self, version: int) -> None:
        bias = -float(version)
        self.policy.put({"bias": torch.full((1,), bias)}, FIXED, np.full(len(FIXED) - 1, bias, np.float32), version)

    @property
    def written(self) -> list[int]:
        return [len(one.written) for one in self.servers]


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setup]:
    monkeypatch.setattr(policies, "FIRST_WAIT", 0.05)
    made = Setup(tmp_path, 3)
    yield made
    for server in made.servers:
        server.stop()
    made.sync.close()


def test_every_server_gets_the_weights_and_its_share_of_the_stories(setup: Setup) -> None:
    all_there = threading.Barrier(12)
    for server in setup.servers:
        server.gate = lambda _: all_there.wait(20)
    with setup.open() as gatherer:
        for version in (4, 5):
            setup.put(version)
            gatherer.load()
            assert setup.policy.version == version
            gatherer.begin(f"{version}", requested(4))
            for group in gatherer.groups(f"{version}"):
                assert {story.policy for story in group.stories} == {version}
                assert {float(value) for story in group.stories for value in story.logprobs} == {-float(version)}
    assert setup.written == [8, 8, 8]
    assert all(server.calls.count("/v1/completions") == 2 for server in setup.servers), "each is compared each time"
    assert len(list(setup.sync._folder.path.iterdir())) == 1, "the weights are stored once"


def test_a_story_goes_to_the_server_that_has_the_fewest(setup: Setup) -> None:
    """One server is slow: while it writes its first stories, the others get what comes."""
    slow, all_there = threading.Event(), threading.Event()
    setup.servers[0].gate = lambda _: slow.wait(20)
    for server in setup.servers[1:]:
        server.gate = lambda _: all_there.wait(20)
    with setup.open() as gatherer:
        setup.put(0)
        gatherer.load()
        gatherer.begin("a", requested(1))
        gatherer.begin("b", requested(1))
        while sum(setup.written) < 6:
            time.sleep(0.005)
        all_there.set()
        while sum(setup.policy._stories.values()) > 2:
            time.sleep(0.005)
        for name in ("c", "d"):
            gatherer.begin(name, requested(1, 2))
            list(gatherer.groups(name))
        assert setup.written[0] == 2
        slow.set()
        list(gatherer.groups("a"))
        list(gatherer.groups("b"))


@pytest.mark.parametrize("number", [0, 2])
def test_one_that_is_lost_is_left_out_with_a_word(setup: Setup, number: int) -> None:
    """The first is the one whose transfer stores the weights: the others still get those that come after it is lost."""
    lost = setup.servers[number]
    fails = threading.Event()
    lost.fault = lambda path, _: "500" if fails.is_set() else ""
    with setup.open() as gatherer:
        setup.put(1)
        gatherer.load()
        fails.set()
        gatherer.begin("a", requested(4))
        assert places(list(gatherer.groups("a"))) == {0: 3, 1: 3, 2: 3, 3: 3}
        setup.put(2)
        gatherer.load()
        before = len(lost.written)
        gatherer.begin("b", requested(4))
        found = list(gatherer.groups("b"))
    assert {float(value) for group in found for story in group.stories for value in story.logprobs} == {-2.0}
    assert len(lost.written) == before
    (said,) = [line for line in setup.said if "left out" in line]
    assert lost.url in said


def test_one_that_is_lost_while_it_gets_the_weights(setup: Setup) -> None:
    setup.servers[1].stop()
    with setup.open() as gatherer:
        setup.put(3)
        gatherer.load()
        gatherer.begin("a", requested(2))
        assert places(list(gatherer.groups("a"))) == {0: 3, 1: 3}
    assert setup.servers[1].written == []


def test_the_run_ends_with_the_last_of_them(setup: Setup) -> None:
    with setup.open() as gatherer:
        setup.put(0)
        gatherer.load()
        for server in setup.servers:
            server.fault = lambda path, _: "500"
        gatherer.begin("a", requested(2))
        with pytest.raises(MendableError, match="fails again and again"):
            list(gatherer.groups("a"))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_any_that_computes_something_else_ends_the_run(setup: Setup, number: int) -> None:
    setup.servers[number].astray = 0.3
    with setup.open() as gatherer:
        setup.put(1)
        with pytest.raises(LogprobMismatch, match=r"0\.3000 nats a token"):
            gatherer.load()


def make(folder: Path, url: Any, **rollouts: Any) -> GrpoSettings:
    given = {"run_dir": folder, "model": folder, "data": (folder,), "rewards": {"weights": {"repetition": -1.0}}}
    return GrpoSettings.model_validate(given | {"rollouts": {"url": url, **rollouts}})


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("", ()),
        ("http://one/", ("http://one",)),
        (["http://one"], ("http://one",)),
        (["http://one", "https://two:81/"], ("http://one", "https://two:81")),
    ],
)
def test_one_address_or_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: Any, found: tuple[str, ...]
) -> None:
    monkeypatch.setattr(servers, "models_of", lambda *_, **__: ["a model"])
    settings = make(tmp_path, url)
    assert settings.rollouts.urls == found
    assert make(tmp_path, settings.model_dump(mode="json")["rollouts"]["url"]).rollouts.urls == found
    made = make_servers(settings, 256)
    if found:
        assert tuple(one.url for one in made) == found
    else:
        assert [type(one) for one in made] == [OwnServer]


@pytest.mark.parametrize(
    ("url", "more", "said"),
    [
        (["http://one", "http://one/"], {}, "twice"),
        (["http://one", "http://two"], {"sync": "nccl"}, "one server"),
        (["http://one", "file:///etc"], {}, "match pattern"),
    ],
)
def test_what_is_refused(tmp_path: Path, url: Any, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        make(tmp_path, url, **more)


@pytest.mark.parametrize("lora", [None, {"rank": 8}])
def test_files_go_through_the_run_s_folder_where_a_server_is_on_another_machine(
    tmp_path: Path, lora: dict[str, int] | None
) -> None:
    here, elsewhere = "http://127.0.0.1:8000", "http://192.0.2.7:8000"
    assert on_this_machine(here)
    assert on_this_machine("http://localhost:8000")
    assert not on_this_machine(elsewhere)
    for url, shared in ((here, False), (elsewhere, True), ([here, elsewhere], True), ("", False)):
        settings = make(tmp_path, url)
        learner = settings.learner.model_validate(settings.learner.model_dump() | {"lora": lora})
        sync: Any = make_sync(settings.model_copy(update={"learner": learner}))
        path = sync._folder.path
        assert path.is_relative_to(tmp_path / "checkpoints") == shared
        assert path.is_relative_to(syncs.SHARED) == (not shared)
        sync.close()
        assert not path.exists()
