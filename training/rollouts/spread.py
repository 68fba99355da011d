"""Several rollout servers with the same weights, as one policy.

    put, load       the weights are stored once and loaded into each server, and each is compared with the learner
    generate        a story goes to the server that has the fewest

A server that fails for good is left out with a word, and the others write its stories. The run ends with the last of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

from training.rollouts.client import Completion, TokenClient
from training.rollouts.policy import Policy, ServerLost
from training.rollouts.sync import Sync, Weights


class Stored:
    """The transfer of weights that another policy has stored already."""

    def __init__(self, sync: Sync) -> None:
        self._sync = sync

    def put(self, weights: Weights) -> None:
        """Do nothing."""

    async def load(self, client: TokenClient) -> str:
        return await self._sync.load(client)

    def close(self) -> None:
        """Do nothing."""


class Spread:
    """Use it as a `Policy`. The first of `policies` stores the weights, and the others have a `Stored` transfer."""

    def __init__(self, policies: Sequence[Policy], say: Callable[[str], None]) -> None:
        self._all, self._say = policies, say
        self._stories = dict.fromkeys(policies, 0)
        """The stories that each server which is not left out writes now."""

    @property
    def version(self) -> int:
        """The number of updates of the servers' weights."""
        return min(one.version for one in self._stories)

    @property
    def logprob_difference(self) -> float:
        """The greatest difference of a server and the learner at the last check, in nats per token."""
        return max(one.logprob_difference for one in self._stories)

    @property
    def tolerance(self) -> float:
        """What servers and learner may differ by, in nats per token."""
        return self._all[0].tolerance

    @tolerance.setter
    def tolerance(self, nats: float) -> None:
        for one in self._all:
            one.tolerance = nats

    async def __aenter__(self) -> Self:
        self._open = AsyncExitStack()
        for one in self._all:
            await self._open.enter_async_context(one)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    def put(self, weights: Weights, *checked: Any) -> None:
        for one in self._all:
            one.put(weights, *checked)

    async def load(self) -> None:
        """Load the weights into all servers at once. Raises LogprobMismatch if one does not compute the learner's log-probabilities."""
        loading = list(self._stories)
        found = await asyncio.gather(*(one.load() for one in loading), return_exceptions=True)
        for error in found:
            if error is not None and not isinstance(error, ServerLost):
                raise error
        for one, error in zip(loading, found, strict=True):
            if isinstance(error, ServerLost):
                self._leave_out(one, error)

    async def generate(self, prompt: Sequence[int], sampling: Mapping[str, Any]) -> tuple[Completion, int]:
        """A story, and the version of the weights that wrote it. Raises MendableError if no server is left."""
        while True:
            one = min(self._stories, key=self._stories.__getitem__)
            self._stories[one] += 1
            try:
                return await one.generate(prompt, sampling)
            except ServerLost as lost:
                self._leave_out(one, lost)
            finally:
                if one in self._stories:
                    self._stories[one] -= 1

    def _leave_out(self, one: Policy, lost: ServerLost) -> None:
        """Leave the server out, unless another of its stories has done so. Raises its error if there is no other server."""
        if one not in self._stories:
            return
        if len(self._stories) == 1:
            raise lost
        del self._stories[one]
        self._say(f"The rollout server at {one.server.url} is left out, and the others write its stories: {lost}")
