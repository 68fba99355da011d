"""Stories from a vLLM server by token ids: no text is tokenised a second time, and every token has the log-probability it was sampled with.

A request that does not reach the server raises `ServerUnavailable`: the owner of the server restarts it, loads the weights, and retries.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import httpx2
import numpy as np

from training.common.errors import MendableError
from training.rollouts.records import Logprobs, Tokens
from training.serving.http import LOGPROBS_BYTES, Unavailable, connections

NEVER = -9000.0
"""vLLM writes -9999 for a log-probability that is not a number."""


class ServerUnavailable(Exception):
    """The server cannot be reached, broke off, or returns a server error."""


class Completion(NamedTuple):
    """A sampled answer: tokens, their log-probabilities (NaN if missing), and whether it ended by itself."""

    tokens: Tokens
    logprobs: Logprobs
    ended: bool


class TokenClient:
    """Use it with `async with`. Hundreds of concurrent requests are possible; the server queues those that it cannot run."""

    def __init__(self, url: str, key: str, model: str, *, seconds: float, at_once: int = 512) -> None:
        self.url, self.model, self._seconds = url, model, seconds
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._headers, self._at_once = headers, at_once
        self._http = self._new()

    def _new(self) -> httpx2.AsyncClient:
        http = connections(self.url, seconds=self._seconds, at_once=self._at_once, own=True, most_bytes=LOGPROBS_BYTES)
        http.headers.update(self._headers)
        return http

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def renew(self) -> None:
        """Close all connections, since the server is gone."""
        old, self._http = self._http, self._new()
        await old.aclose()

    async def generate(self, prompt: Sequence[int], sampling: Mapping[str, Any], *, model: str = "") -> Completion:
        """One answer. `sampling` are vLLM's sampling parameters, with `max_tokens` and `seed`."""
        asked = {"logprobs": 0, "detokenize": False, **sampling}
        body = {"model": model or self.model, "token_ids": list(prompt), "sampling_params": asked}
        found = await self.post("/inference/v1/generate", body)
        try:
            choice = found["choices"][0]
            tokens = np.asarray(choice["token_ids"], dtype=np.int32)
            sampled = [float(one["logprob"]) for one in choice["logprobs"]["content"]]
            reason = choice["finish_reason"]
        except (KeyError, IndexError, TypeError, ValueError):
            raise ServerUnavailable("the answer holds no tokens with log-probabilities") from None
        if len(tokens) != len(sampled) or not len(tokens):
            raise ServerUnavailable("the answer has not as many log-probabilities as tokens")
        logprobs = np.asarray(
            [value if math.isfinite(value) and value > NEVER else math.nan for value in sampled], dtype=np.float32
        )
        return Completion(tokens, logprobs, reason == "stop")

    async def prompt_logprobs(self, tokens: Sequence[int], *, model: str = "") -> Logprobs:
        """log p of all tokens except the first, [T - 1], as the server computes it from the whole text."""
        body = {
            "model": model or self.model,
            "prompt": list(tokens),
            "max_tokens": 1,
            "temperature": 0,
            "prompt_logprobs": 0,
        }
        found = await self.post("/v1/completions", body)
        try:
            listed = found["choices"][0]["prompt_logprobs"][1:]
            return np.asarray(
                [float(entry[str(token)]["logprob"]) for token, entry in zip(tokens[1:], listed, strict=True)],
                dtype=np.float32,
            )
        except (KeyError, IndexError, TypeError, ValueError):
            raise ServerUnavailable("the answer holds no log-probabilities") from None

    async def command(self, path: str, body: Mapping[str, Any] | None = None, *, seconds: float) -> None:
        """Send a command to the server, and ignore the body of the answer."""
        await self._sent(path, body, seconds=seconds)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer as an object. Raises ServerUnavailable, or MendableError if the server refuses the request."""
        answer = await self._sent(path, body, seconds=self._seconds)
        try:
            found = answer.json()
        except ValueError:
            raise ServerUnavailable(f"{path} is not answered in JSON") from None
        if not isinstance(found, dict):
            raise ServerUnavailable(f"{path} is not answered with an object")
        return found

    async def _sent(
        self, path: str, body: Mapping[str, Any] | None = None, *, seconds: float | None = None
    ) -> httpx2.Response:
        try:
            async with asyncio.timeout(seconds or self._seconds):
                answer = await self._http.post(path, json=body)
        except (TimeoutError, httpx2.TimeoutException):
            raise ServerUnavailable(f"{path} was not answered within {seconds or self._seconds:g} seconds") from None
        except (httpx2.HTTPError, Unavailable) as error:
            raise ServerUnavailable(f"{path}: {str(error) or type(error).__name__}") from None
        if answer.status_code >= 500:
            raise ServerUnavailable(f"{path} is answered by {answer.status_code}: {answer.text[:200]}")
        if answer.status_code != 200:
            raise MendableError(f"The rollout server refuses {path} ({answer.status_code}): {answer.text[:300]}")
        return answer
