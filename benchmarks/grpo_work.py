"""The work of both sides of `benchmarks.grpo`, and how their steps alternate: the same stories, the same fake judge, one step at a time.

Each side is a process of its own, which waits for a message before each step:

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
from training.config.learner import Lora

AT_ONCE = 4
"""Stories that the judge reads at the same time."""
THREADS = len(os.sched_getaffinity(0))
WAITING = {"OMP_WAIT_POLICY": "passive"}
"""Environment of both sides, with which torch's threads sleep while they wait. By default they spin, so that two threads of a learner take six times
as long as one if the server uses one of two cores."""
MODEL, CONTEXT = ROOT / "demo" / "model", 2048
LEARNER: dict[str, Any] = {
    "precision": "float32", "learning_rate": 1e-6, "schedule": "constant", "warmup_share": 0.0, "betas": (0.9, 0.999), "threads": THREADS,
    "gradient_checkpointing": True, "tokens_per_micro_batch": 2048,
}  # fmt: skip
BETWEEN, WITHIN = 0.6, 0.3
"""Standard deviations of log lengths, between requests and within the stories of a request."""
Lengths = tuple[tuple[int, ...], ...]


def lengths_of(groups: int, stories: int, median: float) -> Lengths:
    """Return the tokens of each story by group, in ascending order: quantiles of a log-normal distribution, which has a long tail like stories.

    >>> lengths_of(2, 3, 100)
    ((50, 67, 89), (112, 150, 200))
    """
    return tuple(
        tuple(round(median * 2.718281828 ** (BETWEEN * asked + WITHIN * own)) for own in _quantiles(stories))
        for asked in _quantiles(groups)
    )


def _quantiles(count: int) -> list[float]:
    """Return the quantiles of the standard normal distribution in the middle of `count` equal parts."""
    return [NormalDist().inv_cdf((place + 0.5) / count) for place in range(count)]


@dataclass(frozen=True)
class Work:
    """A run of one side. The first step warms up."""

    folder: Path
    url: str
    lengths: Lengths
    steps: int
    model: Path = MODEL
    lora: Lora | None = None
    """The adapters that are trained; without, all weights are."""
    judge_seconds: float = 0.0
    behind: int = 0
    """Only ours: steps by which stories are written ahead."""
    batch: int = 1
    """Only TRL's: stories in a micro-batch."""
    pieces: int = 1
    """Only TRL's: parts in which a step's stories are written one after another, each padded to its own longest."""
    streamed: bool = False
    """Only TRL's: its rollout_func has each story judged as soon as it is written, and the reward function returns these scores."""

    @property
    def learner(self) -> dict[str, Any]:
        return LEARNER | {"lora": self.lora, "gradient_checkpointing": self.lora is None}

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
    """Tokens of stories."""
    phases: dict[str, float]
    """Seconds of each phase; ours overlap."""
    peak: float
    """Peak memory of the process so far, in MiB."""


def asking(model: str, prompt: Sequence[int], size: int) -> dict[str, Any]:
    """Return the body of a request for a story of `size` tokens, without anything that costs the server more time."""
    sampling = {"temperature": 1.0, "max_tokens": size, "ignore_eos": True, "detokenize": False}
    return {"model": model, "token_ids": list(prompt), "sampling_params": sampling}


@dataclass
class FakeJudge:
    """A judge whose score is a hash of the story, after a delay. It reads AT_ONCE stories at a time."""

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

    def seconds_of_step(self) -> float:
        """Return the seconds from the start of the first story to the end of the last, since the last call."""
        found = max(self.ended, default=0.0) - min(self.began, default=0.0)
        self.began.clear()
        self.ended.clear()
        return found


class Turns:
    """The side's end of the connection. The time between two turns is not counted."""

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
        except EOFError:  # the parent has finished
            sys.exit()
        self._began = perf_counter()


def take_turns(run: Callable[[Work, Turns], None]) -> None:
    """Run a side, in the process that `Side` has started."""
    wire = Connection(int(sys.argv[1]))
    run(wire.recv(), Turns(wire))


class Side:
    """The parent's end of the connection: `with Side(module, work) as side: side.step()`. The module is run as a program, which calls `take_turns`."""

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
        if kind:  # it may be waiting for a server that has stopped
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
        """Yield `count` steps, without pauses between them."""
        with suppress(BrokenPipeError):  # reported below
            for _ in range(count):
                self._wire.send("go")
        for _ in range(count):
            try:
                done: Done = self._wire.recv()
            except EOFError:
                output = self._log.read_text(errors="replace").splitlines()[-15:]
                raise MendableError("\n".join(["A side of the benchmark ended too early:", *output])) from None
            if done.tokens != self._work.tokens:
                raise MendableError(f"{done.tokens} tokens were written, and {self._work.tokens} were asked for.")
            yield done


def in_turns(
    name: str, rounds: int, sides: list[Callable[[], Done]], last: Callable[[], Done] | None = None
) -> list[list[Done]]:
    """Run steps of all sides in turn, in the opposite order in every other round, after a step of each for warming up. Returns the steps by side."""
    for side in sides:
        side()
    sides = [*sides, last] if last else sides
    found: list[list[Done]] = [[] for _ in sides]
    for turn in range(rounds):
        for number in range(len(sides)) if turn % 2 == 0 else reversed(range(len(sides))):
            found[number].append(sides[number]())
        print(f"{name}, round {turn + 1}: {', '.join(f'{one[-1].seconds:.1f}' for one in found)} s", flush=True)
    return found
