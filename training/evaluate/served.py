"""A model as a vLLM server serves it: it writes stories, and it says how likely given texts are. No torch is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import httpx

from training.common.text import Message, count_words, storable, story_request

SECONDS = 1800.0
TRIES = 4


class ServerFailed(Exception):
    """The model server cannot be reached, or answers with something else than was asked for."""


@dataclass(frozen=True)
class Served:
    """`url` without the /v1. `name` is what the server calls the model, or the adapter."""

    url: str
    name: str
    key: str = ""


class Written(NamedTuple):
    text: str
    words: int
    ended: bool
    """By itself; else it ran into the end of the context."""


class Scored(NamedTuple):
    nats: float
    """Minus the log-probability of the completion, its closing token included."""
    tokens: int
    words: int


class Client:
    """Use it with `async with`. At most `at_once` requests are under way."""

    def __init__(self, served: Served, *, at_once: int = 32) -> None:
        self.served = served
        self._turn = asyncio.Semaphore(at_once)
        headers = {"Authorization": f"Bearer {served.key}"} if served.key else {}
        self._http = httpx.AsyncClient(base_url=served.url, headers=headers, timeout=httpx.Timeout(SECONDS, connect=10))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def context(self) -> int:
        """Tokens that one request may hold."""
        for entry in (await self._get("/v1/models")).get("data", []):
            if entry.get("id") == self.served.name:
                return int(entry.get("max_model_len") or await self._base_context())
        raise ServerFailed(f"The server does not serve {self.served.name}.")

    async def _base_context(self) -> int:
        lengths = [entry.get("max_model_len") for entry in (await self._get("/v1/models")).get("data", [])]
        return next(int(length) for length in lengths if length)

    async def write(
        self, *, title: str, premise: str, target: int, seed: int, context: int, temperature: float
    ) -> Written:
        """One story in one answer, as a model by itself writes it: no narrator helps it to its length."""
        prompt = await self._tokens(story_request(title=title, premise=premise, target=target), opens=True)
        room = context - len(prompt) - 1
        if room < 1:
            raise ServerFailed("The prompt alone fills the model's context.")
        answer = await self._post(
            "/v1/completions",
            {
                "model": self.served.name,
                "prompt": prompt,
                "max_tokens": min(room, max(256, 4 * target)),
                "temperature": temperature,
                "top_p": 1.0,
                "seed": seed,
            },
        )
        try:
            choice = answer["choices"][0]
            text, reason = storable(str(choice["text"])), choice["finish_reason"]
        except (KeyError, IndexError, TypeError):
            raise ServerFailed("The server's answer holds no text.") from None
        return Written(text, count_words(text), reason == "stop")

    async def fits(self, messages: Sequence[Message], context: int) -> bool:
        return len(await self._tokens(messages, opens=False)) < context

    async def score(self, prompt: Sequence[Message], completion: Sequence[Message]) -> Scored:
        """How likely the completion is after the prompt."""
        before = await self._tokens(prompt, opens=True)
        whole = await self._tokens([*prompt, *completion], opens=False)
        if whole[: len(before)] != before:
            raise ServerFailed(
                "The chat template writes a conversation differently when it goes on; it cannot be scored."
            )
        answer = await self._post(
            "/v1/completions",
            {"model": self.served.name, "prompt": whole, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0},
        )
        try:
            listed = answer["choices"][0]["prompt_logprobs"][len(before) :]
            nats = -sum(float(entry[str(token)]["logprob"]) for token, entry in zip(whole[len(before) :], listed))
        except (KeyError, IndexError, TypeError):
            raise ServerFailed("The server's answer holds no log-probabilities.") from None
        return Scored(nats, len(listed), sum(count_words(one["content"]) for one in completion))

    async def _tokens(self, messages: Sequence[Message], *, opens: bool) -> list[int]:
        body = {"model": self.served.name, "messages": list(messages), "add_generation_prompt": opens}
        tokens = (await self._post("/tokenize", body)).get("tokens")
        if not isinstance(tokens, list):
            raise ServerFailed("The server's answer holds no tokens.")
        return tokens

    async def _get(self, path: str) -> dict[str, Any]:
        return await self._ask("GET", path, None)

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return await self._ask("POST", path, body)

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """A server that is away is asked again a few times; what it refuses is not."""
        for attempt in range(TRIES):
            async with self._turn:
                try:
                    answer = await self._http.request(method, path, json=body)
                except httpx.HTTPError as error:
                    failed = f"The model server does not answer: {str(error) or type(error).__name__}."
                else:
                    if answer.status_code < 500:
                        break
                    failed = f"The model server answers {answer.status_code}."
            if attempt < TRIES - 1:
                await asyncio.sleep(2.0**attempt)
        else:
            raise ServerFailed(failed)
        try:
            found = answer.json()
        except ValueError:
            found = None
        if answer.status_code != 200 or not isinstance(found, dict):
            raise ServerFailed(f"The model server answers {answer.status_code}: {answer.text[:300]}")
        return found
