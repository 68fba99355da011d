"""The policy as a server serves it: always the weights that it was last given, whatever happens to the server.

    policy.put(weights, expected)      the learner's, for the next stories; kept until the next ones
    await policy.load()                ... and the server has them, which is checked
    await policy.write(prompt, ...)    a story; a server that died meanwhile is started again, given the same weights, and asked again

A server that the run did not start is not started again: it is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self

from training.common.errors import MendableError
from training.rollouts.client import Away, TokenClient, Written
from training.rollouts.records import Logprobs, Tokens
from training.rollouts.sync import Sync, Weights, check

FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0


class Server(Protocol):
    key: str
    served_as: str

    @property
    def url(self) -> str: ...

    def begin(self) -> None:
        """Until it answers. Raises MendableError where it does not come up."""

    def alive(self) -> bool: ...
    def stop(self) -> None: ...


class Policy:
    """Use it with `async with`, all of it on one event loop; `put` may be called from any thread while nothing is being loaded."""

    def __init__(
        self, server: Server, sync: Sync, *, seconds: float, agreement: float, revivals: int, say: Callable[[str], None]
    ) -> None:
        self.server, self.sync = server, sync
        self._seconds, self._agreement, self._left, self._say = seconds, agreement, revivals, say
        self.version = -1
        """Updates that the weights have behind them, of those that the server has."""
        self.apart = 0.0
        """Nats a token between server and learner, at the last check."""
        self._put: tuple[Tokens, Logprobs, int] | None = None
        self._reviving = asyncio.Lock()
        self._ready = asyncio.Event()  # the server has the weights: nothing is asked of it before
        self._lives = 0

    async def __aenter__(self) -> Self:
        self._client = TokenClient(self.server.url, self.server.key, self.server.served_as, seconds=self._seconds)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.__aexit__()

    def put(self, weights: Weights, fixed: Tokens, expected: Logprobs, version: int) -> None:
        """`expected` are the learner's log-probabilities of the text `fixed`, of all its tokens but the first."""
        self.sync.put(weights)
        self._put = fixed, expected, version

    async def load(self) -> None:
        life = self._lives
        try:
            await self._load()
        except Away as away:
            await self._revive(life, away)  # which loads them
        self._ready.set()

    async def write(self, prompt: Sequence[int], sampling: Mapping[str, Any]) -> tuple[Written, int]:
        """A story, and the version that wrote it."""
        while True:
            await self._ready.wait()
            life, version = self._lives, self.version
            try:
                return await self._client.write(prompt, sampling, model=self.sync.model), version
            except Away as away:
                await self._revive(life, away)

    async def _load(self) -> None:
        assert self._put is not None
        fixed, expected, version = self._put
        await self.sync.load(self._client)
        self.apart = check(await self._client.read(fixed.tolist(), model=self.sync.model), expected, self._agreement)
        self.version = version

    async def _revive(self, life: int, away: Away) -> None:
        """Of all who find the server away, one has it started again; the others wait for that."""
        async with self._reviving:
            wait = FIRST_WAIT
            while self._lives == life:
                if not self._left:
                    raise MendableError(
                        f"The rollout server fails again and again: {away}. Its own lines are in the run's folder, if the run started it. The same "
                        "command goes on where this one ended."
                    ) from None
                self._left -= 1
                self._ready.clear()
                self._say(f"The rollout server is away: {away}. It gets its weights anew when it is back.")
                try:
                    if self.server.alive():
                        await asyncio.sleep(wait)
                        wait = min(LONGEST_WAIT, 2 * wait)
                    else:
                        await asyncio.to_thread(self.server.begin)
                        await self._client.renew()
                    await self._load()
                except Away as again:
                    away = again
                else:
                    self._lives += 1
                    self._ready.set()
