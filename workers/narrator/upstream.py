"""The narrator's client of the model server: a stream of text that may break off at any byte.

It uses OpenAI's `/v1/completions` with token ids as the prompt, so that the narrator alone decides what is a control token.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import msgspec

from workers.narrator.wire import Exchange, WireError, ask


class Away(Exception):
    """The model server is unavailable or overloaded. The narrator waits for it."""


class Broken(Exception):
    """The model server gave an invalid answer. The request is retried a few times only."""


class TooLong(Exception):
    """The prompt and the answer together exceed the model's context."""


class _Choice(msgspec.Struct):
    text: str = ""
    finish_reason: str | None = None
    token_ids: list[int] | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    error: Any = None


_decode = msgspec.json.Decoder(_Event).decode
_encode = msgspec.json.Encoder().encode


def _choice(payload: bytes) -> _Choice:
    """The choice in one event. Raises Broken if the event is invalid."""
    try:
        event = _decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # msgspec refuses half a surrogate pair, which is valid JSON; `storable` repairs it later.
        try:
            event = msgspec.convert(json.loads(payload), _Event)
        except (ValueError, msgspec.MsgspecError):
            raise Broken("it sent what is not JSON") from None
    if event.error is not None:
        raise Broken("it reported an error while writing")
    return event.choices[0] if event.choices else _Choice()


@dataclass
class Reading:
    text: str = ""
    finish: str | None = None
    """"stop": the model ended its turn; "length": max_tokens or the context ran out."""
    pieces: list[tuple[str, list[int]]] = field(default_factory=list)
    """The text in pieces with their tokens; no tokens if the server does not send them."""


@dataclass
class Answer:
    """A streamed completion. Server-sent events are split at line ends, whatever packets they arrive in."""

    exchange: Exchange
    _rest: bytes = field(default=b"", repr=False)
    _over: bool = False

    def read(self) -> Reading:
        """The text received since the last call. Raises Broken after all text before the error has been returned."""
        data = self.exchange.take()
        if not data and b"\n" not in self._rest and not self._over:
            if self.exchange.error is not None:
                raise Broken(self.exchange.error)
            if self.exchange.complete:
                raise Broken("it ended its answer without saying so")
            return Reading()
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        pieces: list[tuple[str, list[int]]] = []
        finish = None
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            payload = line[5:].strip()
            if payload == b"[DONE]":
                self._over, finish = True, "stop"
                break
            try:
                choice = _choice(payload)
            except Broken:
                if not pieces:
                    raise
                self._rest = line + b"\n"  # raised at the next call
                break
            pieces.append((choice.text, choice.token_ids or []))
            if choice.finish_reason is not None:
                finish = choice.finish_reason
                break
        return Reading("".join(text for text, _ in pieces), finish, pieces)

    def close(self) -> None:
        """Stop the model: vLLM aborts a request whose connection closes."""
        self.exchange.close()


class ModelServer:
    def __init__(self, url: str, key: str = "", *, answer_seconds: float = 60.0) -> None:
        """`answer_seconds`: the longest wait for the next part of an answer."""
        self.url = url.rstrip("/")
        self.key = key
        self.answer_seconds = answer_seconds
        self._context: dict[str, int] = {}

    async def context(self, model: str) -> int:
        """The context of `model` in tokens, as the server reports it; cached."""
        if model not in self._context:
            listing = json.loads(await self._get("/v1/models"))
            entries = {str(entry.get("id")): entry for entry in listing.get("data", [])}
            for name, entry in entries.items():
                base = entries.get(str(entry.get("parent")), {})  # of an adapter
                if isinstance(length := entry.get("max_model_len") or base.get("max_model_len"), int):
                    self._context[name] = length
            if model not in self._context:
                served = ", ".join(self._context) or "nothing"
                raise Broken(f"it serves {served}, not {model}")
        return self._context[model]

    def forget(self) -> None:
        """Clear the cache: after an error another server may be there, with another context."""
        self._context.clear()

    async def complete(self, request: dict[str, Any]) -> Answer:
        """Request a stream. Returns when the head of the answer has arrived. Raises Away, TooLong or Broken."""
        exchange = await self._ask("/v1/completions", "POST", _encode(request))
        try:
            if exchange.status == 200:
                return Answer(exchange)
            async with asyncio.timeout(5):
                body = await self._body(exchange)
        except BaseException:
            exchange.close()
            raise
        exchange.close()
        self.forget()
        if exchange.status in (404, 429, 502, 503, 504):  # 404: an adapter is not loaded again yet
            raise Away(f"it answers {exchange.status}")
        if exchange.status == 400 and (b"context length" in body or (b"maximum" in body and b"tokens" in body)):
            raise TooLong
        raise Broken(f"it answers {exchange.status}")

    async def _get(self, path: str) -> bytes:
        exchange = await self._ask(path, "GET", b"")
        try:
            async with asyncio.timeout(10):
                body = await self._body(exchange)
        except TimeoutError:
            raise Away("it does not answer") from None
        finally:
            exchange.close()
        if exchange.status != 200:
            raise (Away if exchange.status in (429, 502, 503, 504) else Broken)(f"it answers {exchange.status}")
        return body

    async def _ask(self, path: str, method: str, body: bytes) -> Exchange:
        try:
            exchange = await ask(self.url + path, method=method, body=body, key=self.key)
        except WireError as error:
            self.forget()
            raise Away("it cannot be reached") from error
        try:
            async with asyncio.timeout(self.answer_seconds):
                while exchange.status == 0 and exchange.error is None:
                    await exchange.wait()
        except BaseException as error:
            exchange.close()
            if isinstance(error, TimeoutError):
                raise Away("it does not answer") from None
            raise
        if exchange.status == 0:
            exchange.close()
            raise Broken(exchange.error or "it did not answer")
        return exchange

    async def _body(self, exchange: Exchange) -> bytes:
        body = b""
        while not exchange.complete and exchange.error is None and len(body) < 2**20:
            await exchange.wait()
            body += exchange.take()
        return body + exchange.take()
