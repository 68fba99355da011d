"""The client of OpenAI-compatible servers: teachers, judges, and versions that are evaluated.

    async with ModelClient(url, key, seconds=600, at_once=256) as client:
        await client.complete({"model": "m", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 9})  # a chat completion
        await client.complete({"model": "m", "prompt": [1, 15, 7], "max_tokens": 9})                                # of token ids

The transport is the `openai` SDK's. One call is one request; retries are left to the caller, which counts the cost. A request fails with
`Unavailable` if it may succeed later, otherwise with `Refused`. It always ends within `seconds`, and at most `most_bytes` of its answer
are read.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx2

from training.common.text import storable
from training.serving.address import endpoint
from training.serving.http import MOST_BYTES, Unavailable, check, connections, failure

if TYPE_CHECKING:
    from openai import RequestOptions


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer. `tokens_in` and `tokens_out` are those of the server, None if it does not send them."""

    text: str
    finish_reason: str | None
    tokens_in: int | None
    tokens_out: int | None
    choice: Mapping[str, Any]
    """The complete answer as JSON, including vLLM's `prompt_logprobs`."""


class ModelClient:
    """Use it with `async with`. `url` may have a path and a query (`address.py`); `own`: the server belongs to the site, whatever its address
    (`http.py`)."""

    def __init__(
        self,
        url: str,
        key: str = "",
        *,
        seconds: float,
        at_once: int,
        own: bool = False,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        import openai  # takes more than a second, so it is imported only where it is used

        self._seconds = seconds
        self._endpoint = endpoint(url)
        self._openai = openai.AsyncOpenAI(
            base_url=self._endpoint.base,
            api_key=key or "none",
            max_retries=0,
            http_client=connections(url, seconds=seconds, at_once=at_once, own=own, most_bytes=most_bytes),
        )
        none = openai.Omit()  # otherwise the SDK sends OPENAI_ORG_ID and the like to any server
        lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
        headers = {line.partition(":")[0].strip(): none for line in lines if ":" in line} | {
            "Authorization": f"Bearer {key}" if key else none,
            "OpenAI-Organization": none,
            "OpenAI-Project": none,
        }
        if key and "api-version" in self._endpoint.query:  # Azure's deployments want the key so
            headers["api-key"] = key
        self._options: RequestOptions = {"headers": headers, "params": self._endpoint.query}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._openai.close()

    async def complete(self, body: Mapping[str, Any]) -> Completion:
        """The first answer to a request body of OpenAI's API, with `messages` or with token ids as its `prompt`."""
        kind = "chat completion" if "messages" in body else "completion"
        found = await self.ask("/v1/chat/completions" if "messages" in body else "/v1/completions", body)
        try:
            choice = found["choices"][0]
            text = choice["message"]["content"] if "messages" in body else choice["text"]
            if not isinstance(text, str):
                raise TypeError
            reason = choice.get("finish_reason")
        except (KeyError, IndexError, TypeError, AttributeError):
            raise Unavailable(f"what the server answers is no {kind}") from None
        usage = found.get("usage")
        counts = (_count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))
        return Completion(storable(text), reason, *counts, choice)

    async def ask(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object from another route of the server: POST with `body`, GET without one."""
        response = await self._sent(path, body)
        try:
            found = json.loads(response.content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise Unavailable("what the server answers is no JSON object")
        return found

    async def _sent(self, path: str, body: Mapping[str, Any] | None) -> httpx2.Response:
        from openai import APIConnectionError, APIStatusError

        path = self._endpoint.route(path)
        try:
            async with asyncio.timeout(self._seconds):
                if body is None:
                    response = await self._openai.get(path, cast_to=httpx2.Response, options=self._options)
                else:
                    response = await self._openai.post(path, cast_to=httpx2.Response, body=body, options=self._options)
        except TimeoutError as error:
            raise failure(error, self._seconds) from None
        except APIConnectionError as error:
            raise failure(error.__cause__, self._seconds) from None
        except APIStatusError as error:
            response = error.response
        check(response)
        return response


def _count(usage: Any, name: str) -> int | None:
    found = usage.get(name) if isinstance(usage, dict) else None
    return found if isinstance(found, int) and found >= 0 else None
