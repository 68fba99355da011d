"""Stories are judged as they are finished and handed out by groups, whatever dies meanwhile. The server and the judge are fakes, and say so."""

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
from training.datasets.requests import Task
from training.rewards.records import Verdict
from training.rollouts import policy as policies
from training.rollouts.gather import Gatherer, Group, Wanted
from training.rollouts.policy import Policy
from training.rollouts.sync import Astray, SharedMemory, fixed_text

FIXED = fixed_text(300, 16)


class Judge:
    """A FAKE: it says of each answer how long it is, after `seconds`, and notes when it was asked and how many it read together."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.at_once = asyncio.Semaphore(100)
        self.asked: list[tuple[float, str]] = []
        self.fails: Callable[[str], bool] = lambda answer: False

    async def verdict(self, task: Task, answer: str) -> Verdict:
        self.asked.append((time.monotonic(), answer))
        async with self.at_once:
            await asyncio.sleep(self.seconds)
        return Verdict({"length": None if self.fails(answer) else float(len(answer.split()))})


class House:
    def __init__(self, folder: Path) -> None:
        self.folder, self.server, self.judge = folder, FakeServer(), Judge()
        self.said: list[str] = []
        self.sync = SharedMemory()

    def open(self, *, seconds: float = 20, revivals: int = 2) -> Gatherer:
        self.policy = Policy(
            self.server, self.sync, seconds=seconds, agreement=0.01, revivals=revivals, say=self.said.append
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
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(policies, "FIRST_WAIT", 0.05)
    made = House(tmp_path)
    yield made
    made.close()


def tasks(count: int) -> list[Task]:
    return [
        Task(({"role": "user", "content": f"{number}"},), (1, number + 3), None, None, "a human story")
        for number in range(count)
    ]


def wanted(count: int, stories: int = 3, *, human: bool = False) -> list[Wanted]:
    return [Wanted(task, stories, human) for task in tasks(count)]


def places(groups: list[Group]) -> dict[int, int]:
    return {group.number: len(group.stories) for group in groups}


def test_groups_of_stories_with_their_verdicts(house: House) -> None:
    with house.open() as gatherer:
        gatherer.load()
        gatherer.begin("step-00000", wanted(4, human=True))
        found = list(gatherer.groups("step-00000"))
    assert places(found) == {0: 3, 1: 3, 2: 3, 3: 3}
    for group in found:
        for story, verdict in zip(group.stories, group.verdicts, strict=True):
            assert story.ended
            assert len(story.tokens) == len(story.logprobs) == 6
            assert verdict.rewards == {"length": 6.0}
        assert group.human is not None
        assert group.human.rewards == {"length": 3.0}
    assert len({body["sampling_params"]["seed"] for body in house.server.written}) == 12
    assert {body["sampling_params"]["max_tokens"] for body in house.server.written} == {40}


def test_no_answer_is_longer_than_the_context(house: House) -> None:
    with house.open() as gatherer:
        gatherer.load()
        long = Task(({"role": "user", "content": "x"},), tuple(range(3, 53)), None, None, "")
        gatherer.begin("a", [Wanted(long, 2, human=False)])
        list(gatherer.groups("a"))
    assert {body["sampling_params"]["max_tokens"] for body in house.server.written} == {14}


def test_a_group_is_given_out_before_the_others_are_written(house: House) -> None:
    """The stories of one request are held back until the groups of the others have been taken."""
    taken = threading.Event()
    house.server.gate = lambda body: body["token_ids"][1] == 3 and taken.wait(30)
    with house.open() as gatherer:
        gatherer.load()
        gatherer.begin("a", wanted(4))
        groups = gatherer.groups("a")
        first = {next(groups).number for _ in range(3)}
        taken.set()
        assert [group.number for group in groups] == [0]
    assert first == {1, 2, 3}


def test_a_story_is_judged_the_moment_it_is_finished(house: House) -> None:
    """Each story but the first is finished only when one more has come to the judge: were they judged together, none would be."""
    turn, late = iter(range(12)), []

    def wait_for_the_judge(_: Any) -> None:
        before = next(turn)
        end = time.monotonic() + 20
        while len(house.judge.asked) < before:
            time.sleep(0.005)
            if time.monotonic() > end:
                late.append(before)
                return

    house.server.gate = wait_for_the_judge
    with house.open() as gatherer:
        gatherer.load()
        gatherer.begin("a", wanted(4))
        list(gatherer.groups("a"))
    assert late == []


def test_hundreds_are_in_flight(house: House) -> None:
    """None of three hundred is answered before all are there."""
    all_there = threading.Barrier(300)
    house.server.gate = lambda _: all_there.wait(60)
    with house.open(seconds=90) as gatherer:
        gatherer.load()
        gatherer.begin("a", wanted(50, 6))
        assert sum(places(list(gatherer.groups("a"))).values()) == 300
    assert not all_there.broken


def test_weights_are_there_before_the_first_story_and_move_under_none(house: House) -> None:
    with house.open() as gatherer:
        for version in (0, 1):
            house.put(version)
            gatherer.load()
            gatherer.begin(f"{version}", wanted(2))
            for group in gatherer.groups(f"{version}"):
                assert {story.policy for story in group.stories} == {version}
                assert {float(value) for story in group.stories for value in story.logprobs} == {-float(version)}
    assert house.server.calls[:5] == ["/pause", "/collective_rpc", "/reset_prefix_cache", "/resume", "/v1/completions"]


def test_a_server_that_computes_something_else_ends_the_run(house: House) -> None:
    house.server.astray = 0.3
    with house.open() as gatherer, pytest.raises(Astray, match=r"0\.3000 nats a token from the learner's"):
        gatherer.load()


def test_a_step_that_was_begun_takes_from_its_dump_what_is_there(house: House, tmp_path: Path) -> None:
    """Killed in the middle, begun again: no story is written twice, none judged twice, and none differs."""
    killed = threading.Event()
    house.server.gate = lambda body: body["token_ids"][1] in (3, 4) or killed.wait(20)
    with house.open() as gatherer:
        gatherer.load()
        gatherer.begin("a", wanted(4))
        groups = gatherer.groups("a")
        first = {group.number: group for group in (next(groups), next(groups))}
        deadline = time.monotonic() + 20
        while len(house.server.written) < 12 and time.monotonic() < deadline:  # else one arrives after it was counted
            time.sleep(0.005)
    assert set(first) == {0, 1}
    killed.set()
    written, judged = len(house.server.written), len(house.judge.asked)
    with house.open() as gatherer:
        gatherer.load()
        gatherer.begin("a", wanted(4))
        found = {group.number: group for group in gatherer.groups("a")}
    assert places(list(found.values())) == {0: 3, 1: 3, 2: 3, 3: 3}
    assert len(house.server.written) - written == 6
    assert len(house.judge.asked) - judged == 6
    for number, group in first.items():
        assert [story.tokens.tolist() for story in group.stories] == [
            story.tokens.tolist() for story in found[number].stories
        ]
    text = (tmp_path / "a.jsonl").read_text()
    assert (text.count('"story"'), text.count('"judged"')) == (12, 12)


def test_what_was_written_but_not_judged_is_judged_only(house: House) -> None:
    house.judge.seconds = 20.0
    with house.open() as gatherer:
        gatherer.load()
        gatherer.begin("a", wanted(2))
        gatherer.written("a")
    house.judge.seconds = 0.0
    with house.open() as gatherer:
        gatherer.load()
        gatherer.begin("a", wanted(2))
        assert places(list(gatherer.groups("a"))) == {0: 3, 1: 3}
    assert len(house.server.written) == 6


def test_a_server_that_dies_is_started_again_with_the_weights_it_had(house: House) -> None:
    killed = threading.Event()
    house.server.gate = lambda body: body["token_ids"][1] == 3 or killed.wait(20)
    with house.open() as gatherer:
        house.put(7)
        gatherer.load()
        gatherer.begin("a", wanted(4))
        groups = gatherer.groups("a")
        found = [next(groups)]
        house.server.kill()
        killed.set()
        found += groups
    assert places(found) == {0: 3, 1: 3, 2: 3, 3: 3}
    assert house.server.begun == 2
    assert {float(value) for group in found for story in group.stories for value in story.logprobs} == {-7.0}
    assert sum("The rollout server is away" in line for line in house.said) == 1


@pytest.mark.parametrize("fault", ["500", "drop", "no_json", "no_tokens", "hang"])
def test_one_that_fails_now_and_then_is_asked_again(house: House, fault: str) -> None:
    failed: list[int] = []

    def once(path: str, body: dict[str, Any]) -> str:
        if path == "/inference/v1/generate" and body["token_ids"][1] == 4 and not failed:
            failed.append(1)
            return fault
        return ""

    house.server.fault = once
    with house.open(seconds=2) as gatherer:
        gatherer.load()
        gatherer.begin("a", wanted(3))
        assert places(list(gatherer.groups("a"))) == {0: 3, 1: 3, 2: 3}
    assert house.server.begun == 1
    assert len(failed) == 1


@pytest.mark.parametrize("path", ["/pause", "/collective_rpc", "/resume", "/reset_prefix_cache", "/v1/completions"])
def test_a_handing_over_that_breaks_off_is_done_again(house: House, path: str) -> None:
    failed: list[int] = []

    def once(at: str, body: dict[str, Any]) -> str:
        if at.startswith(path) and not failed:
            failed.append(1)
            return "500"
        return ""

    house.server.fault = once
    with house.open() as gatherer:
        house.put(5)
        gatherer.load()
        assert house.policy.version == 5
        assert not house.server.held


def test_a_server_that_never_comes_back_ends_the_run(house: House) -> None:
    house.server.fault = lambda path, body: "500" if path == "/inference/v1/generate" else ""
    with house.open() as gatherer:
        gatherer.load()
        gatherer.begin("a", wanted(2))
        with pytest.raises(MendableError, match="fails again and again"):
            list(gatherer.groups("a"))


def test_an_error_of_a_judge_ends_the_step(house: House) -> None:
    def wrong(_: str) -> bool:
        raise MendableError("The teacher refuses the key.")

    house.judge.fails = wrong
    with house.open() as gatherer:
        gatherer.load()
        gatherer.begin("a", wanted(2))
        with pytest.raises(MendableError, match="refuses the key"):
            list(gatherer.groups("a"))


def test_what_could_not_be_judged_is_absent_and_stays_so(house: House) -> None:
    house.judge.fails = lambda answer: True
    with house.open() as gatherer:
        gatherer.load()
        gatherer.begin("a", wanted(1))
        (group,) = gatherer.groups("a")
    assert [verdict.rewards for verdict in group.verdicts] == [{"length": None}] * 3
