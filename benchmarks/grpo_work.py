"""What both sides of `benchmarks.grpo` do in a step, and how they take turns: the same stories, the same fake judge, one step at a time.

Each side is a process of its own, which does one step and waits until it is told to go on:

    parent: "go"        side: a step        side -> parent: Done        ...
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from statistics import NormalDist
from time import perf_counter
from typing import Any, NamedTuple, Self

from benchmarks.report import ROOT
from training.common.errors import MendableError

AT_ONCE = 4
"""Stories that the judge reads at the same time."""
THREADS = len(os.sched_getaffinity(0))
WAITING = {"OMP_WAIT_POLICY": "passive"}
"""Of both sides: torch's threads sleep while they wait for each other. By default they spin, and where the server has one of two cores, two threads
of a learner then take six times as long as one."""
MODEL, CONTEXT = ROOT / "demo" / "model", 2048
LEARNER: dict[str, Any] = {
    "precision": "float32", "learning_rate": 1e-6, "schedule": "constant", "warmup_share": 0.0, "betas": (0.9, 0.999), "threads": THREADS,
    "gradient_checkpointing": True, "tokens_per_micro_batch": 2048,
}  # fmt: skip
BETWEEN, WITHIN = 0.6, 0.3
"""Deviations of log lengths: of what requests ask for, and of what stories make of one request."""
Lengths = tuple[tuple[int, ...], ...]


def lengths_of(groups: int, stories: int, median: float) -> Lengths:
    """Tokens of each story, group by group, shorter ones first: log-normal, with a long tail as stories have it.

    They are the distribution's own quantiles, so that no draw favours anybody.

    >>> lengths_of(2, 3, 100)
    ((50, 67, 89), (112, 150, 200))
    """
    return tuple(
        tuple(round(median * 2.718281828 ** (BETWEEN * asked + WITHIN * own)) for own in _quantiles(stories))
        for asked in _quantiles(groups)
    )


def _quantiles(count: int) -> list[float]:
    """Of the standard normal distribution, in the middle of `count` equal parts."""
    return [NormalDist().inv_cdf((place + 0.5) / count) for place in range(count)]


@dataclass(frozen=True)
class Work:
    """A run of one side. The first step warms up."""

    folder: Path
    url: str
    lengths: Lengths
    steps: int
    judge_seconds: float = 0.0
    behind: int = 0
    """Ours alone."""
    batch: int = 1
    """TRL's alone: stories that go through the model together."""
    pieces: int = 1
    """TRL's alone: parts that a step's stories are written in, one after another, each padded to its own longest."""
    streamed: bool = False
    """TRL's alone: its rollout_func lets each story be judged as soon as it is written, and the reward function only hands that on."""

    @property
    def stories(self) -> int:
        return sum(map(len, self.lengths))

    @property
    def tokens(self) -> int:
        return sum(map(sum, self.lengths))


class Done(NamedTuple):
    """One step of a side."""

    seconds: float
    tokens: int
    """Of stories."""
    phases: dict[str, float]
    """Seconds of each; ours lie over one another."""
    peak: float
    """MiB that the process has had at most so far."""


def asking(model: str, prompt: Sequence[int], size: int) -> dict[str, Any]:
    """The body of a request for a story of so many tokens, and for nothing that it costs the server time to say."""
    sampling = {"temperature": 1.0, "max_tokens": size, "ignore_eos": True, "detokenize": False}
    return {"model": model, "token_ids": list(prompt), "sampling_params": sampling}


@dataclass
class FakeJudge:
    """No judge at all: a number made of a story's letters, after as long as somebody might read. It reads AT_ONCE at a time."""

    seconds: float
    began: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)

    async def score(self, text: str) -> float:
        async with self._places:
            self.began.append(perf_counter())
            if self.seconds:
                await asyncio.sleep(self.seconds)
            self.ended.append(perf_counter())
        return zlib.crc32(text.encode()) / 2**32

    def took(self) -> float:
        """From the first story's beginning to the last one's end, since it was asked last."""
        found = max(self.ended, default=0.0) - min(self.began, default=0.0)
        self.began.clear()
        self.ended.clear()
        return found


class Turns:
    """The side's end of the wire. What lies between two turns is nobody's time."""

    def __init__(self, wire: Connection) -> None:
        self._wire = wire
        self._wait()

    def done(self, tokens: int, phases: dict[str, float]) -> None:
        seconds = perf_counter() - self._began
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        self._wire.send(Done(seconds, tokens, phases, int(status["VmHWM"].split()[0]) / 1024))
        self._wait()

    def _wait(self) -> None:
        try:
            self._wire.recv()
        except EOFError:  # the parent has what it wanted, or is gone
            sys.exit()
        self._began = perf_counter()


def take_turns(run: Callable[[Work, Turns], None]) -> None:
    """The whole of a side's process, which was started by `Side`."""
    wire = Connection(int(sys.argv[1]))
    run(wire.recv(), Turns(wire))


class Side:
    """The parent's end: `with Side(module, work) as side: side.step()`. The module is run as a program, which calls `take_turns`."""

    def __init__(self, module: str, work: Work) -> None:
        work.folder.mkdir(parents=True)
        self._work, self._log = work, work.folder / "side.log"
        self._wire, far = Pipe()
        with far, self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(far.fileno())], cwd=ROOT, env=os.environ | WAITING, pass_fds=[far.fileno()], stdout=log,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._wire.send(work)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._wire.close()
        if kind:  # it may be waiting for a server that is gone
            self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def step(self) -> Done:
        (one,) = self.steps(1)
        return one

    def steps(self, count: int) -> Iterator[Done]:
        """So many without a pause between them."""
        with suppress(BrokenPipeError):  # what it died of is said below
            for _ in range(count):
                self._wire.send("go")
        for _ in range(count):
            try:
                done: Done = self._wire.recv()
            except EOFError:
                said = self._log.read_text(errors="replace").splitlines()[-15:]
                raise MendableError("\n".join(["A side of the benchmark ended too early:", *said])) from None
            if done.tokens != self._work.tokens:
                raise MendableError(f"{done.tokens} tokens were written, and {self._work.tokens} were asked for.")
            yield done


def in_turns(
    name: str, rounds: int, sides: list[Callable[[], Done]], last: Callable[[], Done] | None = None
) -> list[list[Done]]:
    """Every other round in the opposite order; the first step of each side only warms up."""
    for side in sides:
        side()
    sides = [*sides, last] if last else sides
    found: list[list[Done]] = [[] for _ in sides]
    for turn in range(rounds):
        for number in range(len(sides)) if turn % 2 == 0 else reversed(range(len(sides))):
            found[number].append(sides[number]())
        print(f"{name}, round {turn + 1}: {', '.join(f'{one[-1].seconds:.1f}' for one in found)} s", flush=True)
    return found
