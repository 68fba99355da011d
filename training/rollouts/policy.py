"""The policy and its server, which always has the newest weights, even after a restart.

    policy.put(weights, ...)              stores the learner's weights for the next stories
    await policy.load()                   loads them into the server, and checks that it has them
    await policy.generate(prompt, ...)    a story; if the server dies meanwhile, it is restarted with the same weights, and the request is repeated

A server that the run did not start is not restarted: the policy waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, Self

from training.common.errors import MendableError
from training.rollouts.client import Completion, ServerUnavailable, TokenClient
from training.rollouts.records import Logprobs, Tokens
from training.rollouts.sync import Sync, Weights, check_logprobs

FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
UNLOADING = 10.0
"""Seconds for one adapter."""


class ServerLost(MendableError):
    """A server failed more often than it may be restarted or waited for."""


class Server(Protocol):
    key: str
    served_as: str
    dtype: str
    """In what it computes; empty if that is not known."""

    @property
    def url(self) -> str: ...

    def begin(self) -> None:
        """Start it and wait until it answers. Raises MendableError if it does not start."""

    def alive(self) -> bool: ...
    def stop(self) -> None: ...


class Policy:
    """Use it with `async with`, in one event loop. `put` may be called from any thread while nothing is being loaded."""

    def __init__(
        self, server: Server, sync: Sync, *, seconds: float, tolerance: float, restarts: int, say: Callable[[str], None]
    ) -> None:
        """`tolerance` is in nats per token; `restarts` limits how often a failed server is restarted or waited for."""
        self.server, self.sync = server, sync
        self.tolerance = tolerance
        self._seconds, self._restarts_left, self._say = seconds, restarts, say
        self.version = -1
        """The number of updates of the server's weights."""
        self.logprob_difference = 0.0
        """The difference of server and learner at the last check, in nats per token."""
        self._model = ""
        """The policy's name in requests; empty if it is the server's own model."""
        self._adapters: list[str] = []
        """The names of adapters that the server may have, the newest last."""
        self._put: tuple[Tokens | None, Logprobs | None, int] | None = None
        self._restarting = asyncio.Lock()
        self._ready = asyncio.Event()  # set when the server has the weights; requests wait for it
        self._restarts = 0
        self._lost: ServerLost | None = None

    async def __aenter__(self) -> Self:
        self._client = TokenClient(self.server.url, self.server.key, self.server.served_as, seconds=self._seconds)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._unload_adapters(0)
        await self._client.__aexit__()

    def put(self, weights: Weights, fixed: Tokens | None, expected: Logprobs | None, version: int) -> None:
        """Store the weights. `expected` are the learner's log-probabilities of the last tokens of the text `fixed`, at most all but the first.

        Without a text the weights are not checked, which is for the first that are transferred: they write the text.
        """
        self.sync.put(weights)
        self._put = fixed, expected, version

    async def load(self) -> None:
        """Load the weights into the server. Raises LogprobMismatch if it does not compute the learner's log-probabilities."""
        restarts = self._restarts
        try:
            await self._load()
        except ServerUnavailable as unavailable:
            await self._restart(restarts, unavailable)  # which loads them
        self._ready.set()

    async def generate(self, prompt: Sequence[int], sampling: Mapping[str, Any]) -> tuple[Completion, int]:
        """A story, and the version of the weights that wrote it. Raises MendableError if the server fails permanently."""
        while True:
            await self._ready.wait()
            if self._lost:
                raise self._lost
            restarts, version = self._restarts, self.version
            try:
                return await self._client.generate(prompt, sampling, model=self._model), version
            except ServerUnavailable as unavailable:
                await self._restart(restarts, unavailable)

    async def _load(self) -> None:
        assert self._put is not None
        fixed, expected, version = self._put
        self._model = await self.sync.load(self._client)
        if self._model:
            self._adapters.append(self._model)
        if fixed is not None and expected is not None:
            found = await self._client.prompt_logprobs(fixed.tolist(), model=self._model)
            self.logprob_difference = check_logprobs(found[-len(expected) :], expected, self.tolerance)
        self.version = version
        await self._unload_adapters(2)  # the last one stays, too, for requests that name it already

    async def _unload_adapters(self, kept: int) -> None:
        """Let the server unload all but the newest adapters."""
        while len(self._adapters) > kept:
            with suppress(MendableError):  # it was restarted and does not know the name, or is gone
                order = {"lora_name": self._adapters.pop(0)}
                await self._client.command("/v1/unload_lora_adapter", order, seconds=UNLOADING)

    async def _restart(self, seen: int, unavailable: ServerUnavailable) -> None:
        """Restart the server. If many requests fail at once, the first of them restarts it, and the others wait."""
        async with self._restarting:
            wait = FIRST_WAIT
            while self._restarts == seen:
                if not self._restarts_left:
                    self._lost = ServerLost(
                        f"The rollout server fails again and again: {unavailable}. If the run started it, its log is in the run's folder. The same "
                        "command resumes where this one ended."
                    )
                    self._ready.set()  # for the requests that wait: they fail, too
                    raise self._lost from None
                self._restarts_left -= 1
                self._ready.clear()
                self._say(
                    f"The rollout server is unavailable: {unavailable}. It gets its weights again when it is back."
                )
                try:
                    if self.server.alive():
                        await asyncio.sleep(wait)
                        wait = min(LONGEST_WAIT, 2 * wait)
                    else:
                        await asyncio.to_thread(self.server.begin)
                        await self._client.renew()
                    await self._load()
                except ServerUnavailable as again:
                    unavailable = again
                else:
                    self._restarts += 1
                    self._ready.set()
