"""The groups of a step: written by the server, judged story by story the moment each is finished, handed out as they complete.

    begin(name, wanted)    in a thread of its own: all stories of a step are asked for at once, and the server queues them
    written(name)          waits for the last to be written; judges may still be reading
    groups(name)           each group when its last story is judged

Everything is dumped as it arrives (`records.Dump`). A step that is begun again takes from its dump what is there and asks for the rest. It is learned
from as a whole or not at all, so no group counts twice.
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

from training.datasets.requests import Task
from training.rewards.records import Verdict
from training.rollouts.policy import Policy
from training.rollouts.records import Dump, Place, Rollout

HUMAN = -1
"""The number of the human story in its group."""
R = TypeVar("R")


class Judges(Protocol):
    """Whoever says what a story is worth (`training.rewards.scoring.Scoring`)."""

    async def verdict(self, task: Task, answer: str) -> Verdict: ...


class Wanted(NamedTuple):
    """A group that is to be written: so many stories of the policy, and the human one's verdict, or not."""

    task: Task
    stories: int
    human: bool


@dataclass(frozen=True)
class Group:
    """The stories of one request in their order, with what was said of each; and the human one's verdict."""

    number: int
    task: Task
    stories: Sequence[Rollout]
    verdicts: Sequence[Verdict]
    human: Verdict | None


@dataclass
class _Step:
    """A step under way. `unwritten` stories are still to come; the queue has groups, or the error that ended all of it."""

    dump: Dump
    wanted: Sequence[Wanted]
    unwritten: int
    begun: float = field(default_factory=time.monotonic)
    written: Future[float] = field(default_factory=Future)
    groups: SimpleQueue[Group | BaseException] = field(default_factory=SimpleQueue)


class Gatherer:
    """Use it with `with`. `decode` makes text of an answer's tokens; `sampling` are vLLM's sampling parameters but for seed and max_tokens."""

    def __init__(
        self, policy: Policy, scoring: Judges, folder: Path, decode: Callable[[Sequence[int]], str], sampling: Mapping[str, Any],
        *, context: int, most_tokens: int, seed: int,
    ) -> None:  # fmt: skip
        self._policy, self._scoring, self._folder = policy, scoring, folder
        self._decode, self._sampling = decode, sampling
        self._context, self._most_tokens, self._seed = context, most_tokens, seed
        self._steps: dict[str, _Step] = {}
        self._took: dict[str, float] = {}
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
        """Open until the gatherer ends, on its loop: whatever it talks to."""
        self._do(self._open.enter_async_context(one))

    def start(self, work: Coroutine[Any, Any, R]) -> Future[R]:
        """Work beside the stories, on the same loop; it is given up when the gatherer ends."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def load(self) -> None:
        """The server has the weights that were put, before anything more is written."""
        self._do(self._policy.load())

    def begin(self, name: str, wanted: Sequence[Wanted]) -> None:
        """Nothing where it is begun already."""
        if name not in self._steps:
            one = self._steps[name] = _Step(
                Dump(self._folder / f"{name}.jsonl"), wanted, sum(some.stories for some in wanted)
            )
            self.start(self._gather(name, one))

    def written(self, name: str) -> float:
        """The seconds that it took."""
        return self._steps[name].written.result()

    def seconds(self, name: str) -> float:
        """That it took to write a step's stories; of one that is over, too."""
        return self._took[name]

    def groups(self, name: str) -> Iterator[Group]:
        one = self._steps[name]
        for _ in one.wanted:
            found = one.groups.get()
            if isinstance(found, BaseException):
                raise found
            yield found
        self._took[name] = one.written.result()
        one.dump.close()
        del self._steps[name]

    def _do(self, work: Coroutine[Any, Any, R]) -> R:
        return self.start(work).result()

    async def _leave(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._open.aclose()

    async def _gather(self, name: str, one: _Step) -> None:
        try:
            async with asyncio.TaskGroup() as groups:
                for number in range(len(one.wanted)):
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
        wanted = one.wanted[number]
        async with asyncio.TaskGroup() as group:
            stories = [group.create_task(self._story(name, (number, story), one)) for story in range(wanted.stories)]
            human = (
                group.create_task(self._verdict((number, HUMAN), wanted.task, wanted.task.human_answer, one))
                if wanted.human
                else None
            )
        found = [story.result() for story in stories]
        of_human = human.result() if human else None
        one.groups.put(
            Group(number, wanted.task, [story for story, _ in found], [verdict for _, verdict in found], of_human)
        )

    async def _story(self, name: str, place: Place, one: _Step) -> tuple[Rollout, Verdict]:
        task = one.wanted[place[0]].task
        story = one.dump.stories.get(place)
        if story is None:
            written, version = await self._policy.write(task.tokens, self._drawn(name, place, len(task.tokens)))
            story = Rollout(
                written.tokens, written.logprobs, written.ended, self._decode(written.tokens.tolist()), version
            )
            one.dump.story(place, story)
        one.unwritten -= 1
        if not one.unwritten:
            one.written.set_result(time.monotonic() - one.begun)
        return story, await self._verdict(place, task, story.text, one)

    async def _verdict(self, place: Place, task: Task, answer: str, one: _Step) -> Verdict:
        found = one.dump.verdicts.get(place)
        if found is None:
            found = await self._scoring.verdict(task, answer)
            one.dump.verdict(place, found)
        return found

    def _drawn(self, name: str, place: Place, prompt: int) -> dict[str, Any]:
        """The seed is the story's own, so that a story written again after a death is drawn from the same chance."""
        seed = random.Random(f"{self._seed}/{name}/{place[0]}/{place[1]}").getrandbits(31)
        return {**self._sampling, "seed": seed, "max_tokens": min(self._most_tokens, self._context - prompt)}
