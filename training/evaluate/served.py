"""The client of a served model: it writes stories and scores given texts. No torch is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeVar

from training.common.sampling import SERVED, Sampling
from training.common.text import Message, count_words, story_request
from training.serving.client import Completion, ModelClient
from training.serving.http import LOGPROBS_BYTES, Refused, ServerFailed, Unavailable
from training.serving.tokens import chat_tokens

SECONDS = 1800.0
TRIES = 4

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Served:
    """`url` without the /v1. `name` is the server's name of the model or adapter."""

    url: str
    name: str
    key: str = ""


class Written(NamedTuple):
    text: str
    words: int
    ended: bool
    """Whether it ended by itself; otherwise it reached the end of the context."""


class Scored(NamedTuple):
    nats: float
    """Minus the log-probability of the completion, including its end token."""
    tokens: int
    words: int


class Client:
    """Use it with `async with`. At most `at_once` requests are concurrent. All requests may raise ServerFailed."""

    def __init__(self, served: Served, *, at_once: int = 32) -> None:
        self.served = served
        self._turn = asyncio.Semaphore(at_once)
        self._client = ModelClient(
            served.url, served.key, own=True, seconds=SECONDS, at_once=at_once, most_bytes=LOGPROBS_BYTES
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def context(self) -> int:
        """The context in tokens; that of the base model for an adapter."""
        try:
            lengths = {model["id"]: model.get("max_model_len") for model in (await self._ask("/v1/models"))["data"]}
        except (KeyError, TypeError, AttributeError):
            raise ServerFailed("The server's answer holds no models.") from None
        if self.served.name not in lengths:
            raise ServerFailed(f"The server does not serve {self.served.name}.")
        if not (known := [length for length in (lengths[self.served.name], *lengths.values()) if length]):
            raise ServerFailed("The server does not say how many tokens a request may hold.")
        return int(known[0])

    async def write(
        self,
        *,
        title: str,
        premise: str,
        target: int,
        seed: int,
        context: int,
        sampling: Sampling = SERVED,
    ) -> Written:
        """A story in one answer, as the model writes it without a narrator; sampled as the site serves, unless told otherwise."""
        prompt = await self._tokens(story_request(title=title, premise=premise, target=target), opens=True)
        room = context - len(prompt) - 1
        if room < 1:
            raise ServerFailed("The prompt alone fills the model's context.")
        story = await self._complete(
            {
                "prompt": prompt,
                "max_tokens": min(room, max(256, 4 * target)),
                **sampling.parameters(),
                "seed": seed,
            }
        )
        return Written(story.text, count_words(story.text), story.finish_reason == "stop")

    async def fits(self, messages: Sequence[Message], context: int) -> bool:
        return len(await self._tokens(messages, opens=False)) < context

    async def score(self, prompt: Sequence[Message], completion: Sequence[Message]) -> Scored:
        """The score of the completion after the prompt."""
        before = await self._tokens(prompt, opens=True)
        whole = await self._tokens([*prompt, *completion], opens=False)
        if whole[: len(before)] != before:
            raise ServerFailed(
                "The chat template writes a conversation differently once there is an answer; it cannot be scored."
            )
        read = await self._complete({"prompt": whole, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0})
        try:
            listed = read.choice["prompt_logprobs"][len(before) :]
            nats = -sum(float(entry[str(token)]["logprob"]) for token, entry in zip(whole[len(before) :], listed))
        except (KeyError, IndexError, TypeError):
            raise ServerFailed("The server's answer holds no log-probabilities.") from None
        return Scored(nats, len(listed), sum(count_words(message["content"]) for message in completion))

    async def _tokens(self, messages: Sequence[Message], *, opens: bool) -> list[int]:
        return await chat_tokens(self._ask, self.served.name, messages, opens=opens)

    async def _complete(self, body: dict[str, Any]) -> Completion:
        return await self._retried(lambda: self._client.complete({"model": self.served.name, **body}))

    async def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return await self._retried(lambda: self._client.ask(path, body))

    async def _retried(self, send: Callable[[], Awaitable[Answer]]) -> Answer:
        """Send a request, with a few retries if the server is unavailable, but not if it refuses the request."""
        for attempt in range(1, TRIES + 1):
            try:
                async with self._turn:
                    return await send()
            except Refused as error:
                raise ServerFailed(f"The model server failed: {error}") from None
            except Unavailable as error:
                failed = error
            if attempt < TRIES:
                await asyncio.sleep(failed.wait(attempt))
        raise ServerFailed(f"The model server does not answer: {failed}.")
