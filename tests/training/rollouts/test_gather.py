"""Stories are judged when they are finished and returned in groups, whichever process dies meanwhile. The server and the judge are fakes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.rollouts.fake import FakeServer
from training.common.errors import MendableError
from training.datasets.requests import Request
from training.learner.probe import fixed_text
from training.rewards.records import StoryScore
from training.rollouts import policy as policies
from training.rollouts.gather import Gatherer, Group, GroupRequest
from training.rollouts.policy import Policy
from training.rollouts.sync import LogprobMismatch, SharedMemory

FIXED = fixed_text(300, 16)


class Judge:
    """A FAKE: it says of each answer how long it is, after `seconds`, and notes when it was asked and how many it read together."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.at_once = asyncio.Semaphore(100)
        self.asked: list[tuple[float, str]] = []
        self.fails: Callable[[str], bool] = lambda answer: False

    async def score(self, request: Request, raw: str) -> StoryScore:
        self.asked.append((time.monotonic(), raw))
        async with self.at_once:
            await asyncio.sleep(self.seconds)
        return StoryScore({"length": None if self.fails(raw) else float(len(raw.split()))})


class Setup:
    def __init__(self, folder: Path) -> None:
        self.folder, self.server, self.judge = folder, FakeServer(), Judge()
        self.said: list[str] = []
        self.sync = SharedMemory()

    def open(self, *, seconds: float = 20, restarts: int = 2) -> Gatherer:
        self.policy = Policy(
            self.server, self.sync, seconds=seconds, tolerance=0.01, restarts=restarts, say=self.said.append
        )
        self.put(0)
        return Gatherer(
            self.policy, self.judge, self.folder, lambda tokens: " ".join(map(str, tokens)), {"temperature": 1.0}, context=64, most_tokens=40, seed=3,
        )  # fmt: skip

    def put(self, version: int) -> None:
        """Weights whose every log-probability is -version."""
        bias = -float(version)
        self.policy.put({"bias": torch.full((1,), bias)}, FIXED, np.full(len(FIXED) - 1, bias, np.float32), version)

    def close(self) -> None:
        self.server.stop()
        self.sync.close()


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setup]:
    monkeypatch.setattr(policies, "FIRST_WAIT", 0.05)
    made = Setup(tmp_path)
    yield made
    made.close()


def requests(count: int) -> list[Request]:
    return [
        Request(({"role": "user", "content": f"{number}"},), (1, number + 3), None, None, "a human story")
        for number in range(count)
    ]


def requested(count: int, stories: int = 3, *, human: bool = False) -> list[GroupRequest]:
    return [GroupRequest(one, stories, human) for one in requests(count)]


def places(groups: list[Group]) -> dict[int, int]:
    return {group.number: len(group.stories) for group in groups}


def test_groups_of_stories_with_their_scores(setup: Setup) -> None:
    with setup.open() as gatherer:
        gatherer.load()
        gatherer.begin("step-00000", requested(4, human=True))
        found = list(gatherer.groups("step-00000"))
    assert places(found) == {0: 3, 1: 3, 2: 3, 3: 3}
    for group in found:
        for story, score in zip(group.stories, group.scores, strict=True):
            assert story.ended
            assert len(story.tokens) == len(story.logprobs) == 6
            assert score.rewards == {"length": 6.0}
        assert group.human is not None
        assert group.human.rewards == {"length": 3.0}
    assert len({body["sampling_params"]["seed"] for body in setup.server.written}) == 12
    assert {body["sampling_params"]["max_tokens"] for body in setup.server.written} == {40}


def test_no_answer_is_longer_than_the_context(setup: Setup) -> None:
    with setup.open() as gatherer:
        gatherer.load()
        long = Request(({"role": "user", "content": "x"},), tuple(range(3, 53)), None, None, "")
        gatherer.begin("a", [GroupRequest(long, 2, human=False)])
        list(gatherer.groups("a"))
    assert {body["sampling_params"]["max_tokens"] for body in setup.server.written} == {14}


def test_a_group_is_given_out_before_the_others_are_written(setup: Setup) -> None:
    """The stories of one request are held back until the groups of the others have been taken."""
    taken = threading.Event()
    setup.server.gate = lambda body: body["token_ids"][1] == 3 and taken.wait(30)
    with setup.open() as gatherer:
        gatherer.load()
        gatherer.begin("a", requested(4))
        groups = gatherer.groups("a")
        first = {next(groups).number for _ in range(3)}
        taken.set()
        assert [group.number for group in groups] == [0]
    assert first == {1, 2, 3}


def test_a_story_is_judged_the_moment_it_is_finished(setup: Setup) -> None:
    """Each story but the first is finished only when one more has come to the judge: were they judged together, none would be."""
    turn, late = iter(range(12)), []

    def wait_for_the_judge(_: Any) -> None:
        before = next(turn)
        end = time.monotonic() + 20
        while len(setup.judge.asked) < before:
            time.sleep(0.005)
            if time.monotonic() > end:
                late.append(before)
                return

    setup.server.gate = wait_for_the_judge
    with setup.open() as gatherer:
        gatherer.load()
        gatherer.begin("a", requested(4))
        list(gatherer.groups("a"))
    assert late == []


def test_hundreds_are_in_flight(setup: Setup) -> None:
    """None of three hundred is answered before all are there."""
    all_there = threading.Barrier(300)
    setup.server.gate = lambda _: all_there.wait(60)
    with setup.open(seconds=90) as gatherer:
        gatherer.load()
        gatherer.begin("a", requested(50, 6))
        assert sum(places(list(gatherer.groups("a"))).values()) == 300
    assert not all_there.broken


def test_weights_are_there_before_the_first_story_and_move_under_none(setup: Setup) -> None:
    with setup.open() as gatherer:
        for version in (0, 1):
            setup.put(version)
            gatherer.load()
            gatherer.begin(f"{version}", requested(2))
            for group in gatherer.groups(f"{version}"):
                assert {story.policy for story in group.stories} == {version}
                assert {float(value) for story in group.stories for value in story.logprobs} == {-float(version)}
    assert setup.server.calls[:5] == ["/pause", "/collective_rpc", "/reset_prefix_cache", "/resume", "/v1/completions"]


def test_a_server_that_computes_something_else_ends_the_run(setup: Setup) -> None:
    setup.server.astray = 0.3
    with setup.open() as gatherer, pytest.raises(LogprobMismatch, match=r"0\.3000 nats a token from the learner's"):
        gatherer.load()


def test_a_step_that_was_begun_takes_from_its_dump_what_is_there(setup: Setup, tmp_path: Path) -> None:
    """Killed in the middle, begun again: no story is written twice, none judged twice, and none differs."""
    killed = threading.Event()
    setup.server.gate = lambda body: body["token_ids"][1] in (3, 4) or killed.wait(20)
    with setup.open() as gatherer:
        gatherer.load()
        gatherer.begin("a", requested(4))
        groups = gatherer.groups("a")
        first = {group.number: group for group in (next(groups), next(groups))}
        deadline = time.monotonic() + 20
        while len(setup.server.written) < 12 and time.monotonic() < deadline:  # else one arrives after it was counted
            time.sleep(0.005)
    assert set(first) == {0, 1}
    killed.set()
    written, judged = len(setup.server.written), len(setup.judge.asked)
    with setup.open() as gatherer:
        gatherer.load()
        gatherer.begin("a", requested(4))
        found = {group.number: group for group in gatherer.groups("a")}
    assert places(list(found.values())) == {0: 3, 1: 3, 2: 3, 3: 3}
    assert len(setup.server.written) - written == 6
    assert len(setup.judge.asked) - judged == 6
    for number, group in first.items():
        assert [story.tokens.tolist() for story in group.stories] == [
            story.tokens.tolist() for story in found[number].stories
        ]
    text = (tmp_path / "a.jsonl").read_text()
    assert (text.count('"story"'), text.count('"judged"')) == (12, 12)


def test_what_was_written_but_not_judged_is_judged_only(setup: Setup) -> None:
    setup.judge.seconds = 20.0
    with setup.open() as gatherer:
        gatherer.load()
        gatherer.begin("a", requested(2))
        gatherer.written("a")
    setup.judge.seconds = 0.0
    with setup.open() as gatherer:
        gatherer.load()
        gatherer.begin("a", requested(2))
        assert places(list(gatherer.groups("a"))) == {0: 3, 1: 3}
    assert len(setup.server.written) == 6


def test_a_server_that_dies_is_started_again_with_the_weights_it_had(setup: Setup) -> None:
    killed = threading.Event()
    setup.server.gate = lambda body: body["token_ids"][1] == 3 or killed.wait(20)
    with setup.open() as gatherer:
        setup.put(7)
        gatherer.load()
        gatherer.begin("a", requested(4))
        groups = gatherer.groups("a")
        found = [next(groups)]
        setup.server.kill()
        killed.set()
        found += groups
    assert places(found) == {0: 3, 1: 3, 2: 3, 3: 3}
    assert setup.server.begun == 2
    assert {float(value) for group in found for story in group.stories for value in story.logprobs} == {-7.0}
    assert sum("The rollout server is unavailable" in line for line in setup.said) == 1


@pytest.mark.parametrize("fault", ["500", "drop", "no_json", "no_tokens", "hang"])
def test_one_that_fails_now_and_then_is_asked_again(setup: Setup, fault: str) -> None:
    failed: list[int] = []

    def once(path: str, body: dict[str, Any]) -> str:
        if path == "/inference/v1/generate" and body["token_ids"][1] == 4 and not failed:
            failed.append(1)
            return fault
        return ""

    setup.server.fault = once
    with setup.open(seconds=2) as gatherer:
        gatherer.load()
        gatherer.begin("a", requested(3))
        assert places(list(gatherer.groups("a"))) == {0: 3, 1: 3, 2: 3}
    assert setup.server.begun == 1
    assert len(failed) == 1


@pytest.mark.parametrize("path", ["/pause", "/collective_rpc", "/resume", "/reset_prefix_cache", "/v1/completions"])
def test_a_handing_over_that_breaks_off_is_done_again(setup: Setup, path: str) -> None:
    failed: list[int] = []

    def once(at: str, body: dict[str, Any]) -> str:
        if at.startswith(path) and not failed:
            failed.append(1)
            return "500"
        return ""

    setup.server.fault = once
    with setup.open() as gatherer:
        setup.put(5)
        gatherer.load()
        assert setup.policy.version == 5
        assert not setup.server.held


def test_a_server_that_never_comes_back_ends_the_run(setup: Setup) -> None:
    setup.server.fault = lambda path, body: "500" if path == "/inference/v1/generate" else ""
    with setup.open() as gatherer:
        gatherer.load()
        gatherer.begin("a", requested(2))
        with pytest.raises(MendableError, match="fails again and again"):
            list(gatherer.groups("a"))


def test_an_error_of_a_judge_ends_the_step(setup: Setup) -> None:
    def wrong(_: str) -> bool:
        raise MendableError("The teacher refuses the key.")

    setup.judge.fails = wrong
    with setup.open() as gatherer:
        gatherer.load()
        gatherer.begin("a", requested(2))
        with pytest.raises(MendableError, match="refuses the key"):
            list(gatherer.groups("a"))


def test_what_could_not_be_judged_is_absent_and_stays_so(setup: Setup) -> None:
    setup.judge.fails = lambda answer: True
    with setup.open() as gatherer:
        gatherer.load()
        gatherer.begin("a", requested(1))
        (group,) = gatherer.groups("a")
    assert [score.rewards for score in group.scores] == [{"length": None}] * 3
