"""Gathers the groups of a step: the server writes them, each story is scored when it is finished, and groups are returned when they are complete.

    begin(name, requested)  all stories of a step are requested at once, in a separate thread; the server queues them
    written(name)           waits until the last is written; judges may still be working
    groups(name)            yields each group when its last story is scored

Everything is dumped as it arrives (`records.Dump`). A restarted step uses its dump and requests only the rest. The learner
uses a step completely or not at all, so no group counts twice.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, Protocol, Self, TypeVar

from training.datasets.requests import Request
from training.rewards.records import StoryScore
from training.rollouts.policy import Policy
from training.rollouts.records import HUMAN, Dump, Place, Rollout
from training.rollouts.spread import Spread

R = TypeVar("R")


class StoryScorer(Protocol):
    """Scores an answer as the model wrote it (`training.rewards.scoring.Scoring`)."""

    async def score(self, request: Request, raw: str) -> StoryScore: ...


class GroupRequest(NamedTuple):
    """A request for a group: the number of the policy's stories, and whether the human story is scored with them."""

    request: Request
    stories: int
    human: bool


@dataclass(frozen=True)
class Group:
    """The stories of one request in order, with their scores, and the human story's score."""

    number: int
    request: Request
    stories: Sequence[Rollout]
    scores: Sequence[StoryScore]
    human: StoryScore | None


@dataclass
class _Step:
    """A step that is being written. `unwritten` stories are missing; the queue has groups, or the error that ended the step."""

    dump: Dump
    requested: Sequence[GroupRequest]
    unwritten: int
    begun: float = field(default_factory=time.monotonic)
    written: Future[float] = field(default_factory=Future)
    groups: SimpleQueue[Group | BaseException] = field(default_factory=SimpleQueue)


class Gatherer:
    """Use it with `with`. `decode` turns an answer's tokens into text; `sampling` are vLLM's sampling parameters without seed and max_tokens."""

    def __init__(
        self, policy: Policy | Spread, scorer: StoryScorer, folder: Path, decode: Callable[[Sequence[int]], str], sampling: Mapping[str, Any],
        *, context: int, most_tokens: int, seed: int,
    ) -> None:  # fmt: skip
        self._policy, self._scorer, self._folder = policy, scorer, folder
        self._decode, self._sampling = decode, sampling
        self._context, self._most_tokens, self._seed = context, most_tokens, seed
        self._steps: dict[str, _Step] = {}
        self._seconds: dict[str, float] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rollouts", daemon=True)
        self._open = AsyncExitStack()

    def __enter__(self) -> Self:
        self._thread.start()
        self.enter(self._policy)
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._leave())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        for one in self._steps.values():
            one.dump.close()

    def enter(self, one: AbstractAsyncContextManager[Any]) -> None:
        """Enter a context on the gatherer's loop until it ends, for a client that it uses."""
        self._do(self._open.enter_async_context(one))

    def start(self, work: Coroutine[Any, Any, R]) -> Future[R]:
        """Start other work on the same loop. It is cancelled when the gatherer ends."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def load(self) -> None:
        """Wait until the server has the newest weights. No story is written before."""
        self._do(self._policy.load())

    def begin(self, name: str, requested: Sequence[GroupRequest]) -> None:
        """Request the stories of a step, unless it has been started already."""
        if name not in self._steps:
            one = self._steps[name] = _Step(
                Dump(self._folder / f"{name}.jsonl"), requested, sum(some.stories for some in requested)
            )
            self.start(self._gather(name, one))

    def written(self, name: str) -> float:
        """Wait until the step's stories are written; returns the seconds that it took."""
        return self._steps[name].written.result()

    def seconds(self, name: str) -> float:
        """The seconds that it took to write the stories of a step whose groups have all been returned."""
        return self._seconds[name]

    def groups(self, name: str) -> Iterator[Group]:
        """Each group when it is complete. Raises the error that ended the step."""
        one = self._steps[name]
        for _ in one.requested:
            found = one.groups.get()
            if isinstance(found, BaseException):
                raise found
            yield found
        self._seconds[name] = one.written.result()
        one.dump.close()
        del self._steps[name]

    def _do(self, work: Coroutine[Any, Any, R]) -> R:
        return self.start(work).result()

    async def _leave(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._open.aclose()

    async def _gather(self, name: str, one: _Step) -> None:
        try:
            async with asyncio.TaskGroup() as groups:
                for number in range(len(one.requested)):
                    groups.create_task(self._group(name, number, one))
        except BaseException as error:
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            one.groups.put(error)
            if not one.written.done():
                one.written.set_exception(error)
            if isinstance(error, asyncio.CancelledError):
                raise

    async def _group(self, name: str, number: int, one: _Step) -> None:
        request, count, with_human = one.requested[number]
        async with asyncio.TaskGroup() as group:
            stories = [group.create_task(self._story(name, (number, story), one)) for story in range(count)]
            human = (
                group.create_task(self._score((number, HUMAN), request, request.human_answer, one))
                if with_human
                else None
            )
        found = [story.result() for story in stories]
        human_score = human.result() if human else None
        one.groups.put(
            Group(number, request, [story for story, _ in found], [score for _, score in found], human_score)
        )

    async def _story(self, name: str, place: Place, one: _Step) -> tuple[Rollout, StoryScore]:
        request = one.requested[place[0]].request
        story = one.dump.stories.get(place)
        if story is None:
            sampling = self._sampling_of(name, place, len(request.tokens))
            written, version = await self._policy.generate(request.tokens, sampling)
            text = request.begun + self._decode(written.tokens.tolist())
            story = Rollout(written.tokens, written.logprobs, written.ended, text, version)
            one.dump.add_story(place, story)
        one.unwritten -= 1
        if not one.unwritten:
            one.written.set_result(time.monotonic() - one.begun)
        return story, await self._score(place, request, story.text, one)

    async def _score(self, place: Place, request: Request, raw: str, one: _Step) -> StoryScore:
        found = one.dump.scores.get(place)
        if found is None:
            found = await self._scorer.score(request, raw)
            one.dump.add_score(place, found)
        return found

    def _sampling_of(self, name: str, place: Place, prompt: int) -> dict[str, Any]:
        """The seed of each story, so that a story that is written again after a failure uses the same random numbers."""
        seed = random.Random(f"{self._seed}/{name}/{place[0]}/{place[1]}").getrandbits(31)
        return {**self._sampling, "seed": seed, "max_tokens": min(self._most_tokens, self._context - prompt)}
