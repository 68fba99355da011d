"""Asking a teacher: hundreds of questions in flight, each answered in JSON of a known shape, paid once, and kept.

    async with Teacher(settings, folder / "calls.jsonl") as teacher:
        rewrite = await teacher.ask(Question(messages, Rewrite, seed=7))      # a Rewrite, or Absent is raised

What was answered before is not asked again, so a stage that was killed goes on from its calls, and `replay` does without a server.
A server that is away, slow, or answers 429 or 5xx is asked again, later and later. An answer that is cut short or no JSON of its shape is
asked for once more, with another seed. What then is still no answer is `Absent`, with the reason, and costs only its own row. A refused
key, a model that is not there, and a server that answers nobody any more end the stage: rows are not to be lost to a wrong setting.

Answers are text of a stranger: bounded, checked against their shape, and never more than data.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
from pydantic import ValidationError

from training.common.errors import MendableError
from training.common.question import A, Question
from training.common.text import storable
from training.config.teacher import TeacherSettings
from training.teacher.calls import Calls, Kept, key_of
from training.teacher.limits import Budget, Pace

Item = TypeVar("Item")
Done = TypeVar("Done")

CHARACTERS_A_TOKEN = 3
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
MOST_BYTES = 16 * 2**20
SILENT = 20
"""So many requests in a row that failed on their way, with no answer to anybody between them, and the server is taken to be gone."""


class Absent(Exception):
    """There is no answer; the message says why. It is a missing value, never a zero."""


class _OnTheWay(Exception):
    """A request failed before there was an answer; it may be sent again, after so many seconds if the server says so."""

    def __init__(self, why: str, after: float | None = None, *, reached: bool = True) -> None:
        super().__init__(why)
        self.after, self.reached = after, reached


class Teacher:
    """Use it with `async with`. Not for several threads."""

    def __init__(self, settings: TeacherSettings, calls: Path, environment: dict[str, str] | None = None) -> None:
        self.settings = settings
        self.calls = Calls(calls)
        self.budget = Budget(settings.most_tokens, settings.most_money, settings.price_in, settings.price_out)
        self._requests, self._tokens = Pace(settings.requests_per_minute), Pace(settings.tokens_per_minute)
        self._turn = asyncio.Semaphore(settings.at_once)
        self._silent = 0
        key = (os.environ if environment is None else environment).get(settings.key_variable, "")
        self._http = httpx.AsyncClient(
            base_url=settings.url.rstrip("/"),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(settings.seconds, connect=min(30.0, settings.seconds)),
            limits=httpx.Limits(max_connections=settings.at_once, max_keepalive_connections=settings.at_once),
        )

    async def __aenter__(self) -> Self:
        self.budget.spent = self.budget.cost(self.calls.tokens_in, self.calls.tokens_out)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()
        self.calls.close()

    def told(self) -> dict[str, float]:
        """What it has cost so far, earlier runs of the same command included."""
        return {
            "asked": self.calls.count,
            "tokens_in": self.calls.tokens_in,
            "tokens_out": self.calls.tokens_out,
            "money": round(self.budget.spent.money, 6),
        }

    async def ask(self, question: Question[A]) -> A:
        """Raises Absent where there is no answer, and MendableError where there will be none to any question."""
        why = ""
        for again in range(2):
            kept = await self._answered(self._body(question, question.seed + again))
            if kept.answer is None:
                raise Absent(kept.failed)
            if kept.failed:
                why = kept.failed
                continue
            try:
                found = question.answer.model_validate_json(storable(_json_in(kept.answer)))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"])) or "it"
                why = f"the answer is not what was asked for ({where}: {first['msg']})"[:300]
                continue
            if not (wrong := question.check(found)):
                return found
            why = f"the answer cannot be right: {wrong}"[:300]
        raise Absent(why)

    def _body(self, question: Question[A], seed: int) -> dict[str, Any]:
        temperature = self.settings.temperature if question.temperature is None else question.temperature
        body: dict[str, Any] = {
            "model": self.settings.model,
            "messages": list(question.messages),
            "max_tokens": question.most_tokens,
            "temperature": temperature,
            "seed": seed,
        }
        if self.settings.structured:
            shape = {"name": question.answer.__name__, "strict": True, "schema": question.answer.model_json_schema()}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
        return body

    async def _answered(self, asked: dict[str, Any]) -> Kept:
        key = key_of(asked)
        kept = self.calls.kept.get(key)
        if kept is not None and (kept.answer is not None or self.settings.replay):
            return kept
        if self.settings.replay:
            raise Absent("it was never asked, and nothing is sent in a replay")
        tokens_in = sum(len(message["content"]) for message in asked["messages"]) // CHARACTERS_A_TOKEN + 16
        most = self.budget.cost(tokens_in, asked["max_tokens"])
        if not await self.budget.take(most):
            raise Absent("the budget is spent")
        spent = (0, 0)
        begun = time.monotonic()
        try:
            kept, spent, tries = await self._sent(asked, tokens_in)
            self.calls.keep(key, asked, kept.answer, kept.failed, spent, time.monotonic() - begun, tries)
        finally:
            await self.budget.settle(most, self.budget.cost(*spent))
        return kept

    async def _sent(self, asked: dict[str, Any], tokens_in: int) -> tuple[Kept, tuple[int, int], int]:
        """What came back, the tokens that it cost, and how often it was sent. What failed on its way is taken to have cost its prompt."""
        failed, lost = "", 0
        for attempt in range(1, self.settings.tries + 1):
            try:
                async with self._turn:
                    await self._requests.take()
                    await self._tokens.take(tokens_in + asked["max_tokens"])
                    kept, (used_in, used_out) = await self._once(asked, tokens_in)
            except _OnTheWay as error:
                failed, lost = str(error), lost + tokens_in * error.reached
                wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempt - 1)) * random.uniform(0.5, 1)
                if error.after is not None:
                    wait = max(wait, min(LONGEST_WAIT, error.after))
                    self._requests.hold(wait)
                if attempt < self.settings.tries:
                    await asyncio.sleep(wait)
            else:
                self._silent = 0
                return kept, (used_in + lost, used_out), attempt
        self._silent += 1
        if self._silent >= SILENT:
            raise MendableError(
                f"The teacher at {self.settings.url} answers nobody any more: {failed}. The same command goes on where this one ended."
            )
        return Kept(None, failed), (lost, 0), self.settings.tries

    async def _once(self, asked: dict[str, Any], tokens_in: int) -> tuple[Kept, tuple[int, int]]:
        try:
            async with (
                asyncio.timeout(self.settings.seconds),
                self._http.stream("POST", "/v1/chat/completions", json=asked) as response,
            ):
                body = await _bounded(response)
        except (TimeoutError, httpx.TimeoutException):
            raise _OnTheWay(f"there was no answer within {self.settings.seconds:g} seconds") from None
        except httpx.ConnectError as error:
            raise _OnTheWay(f"the server cannot be reached: {error}", reached=False) from None
        except httpx.HTTPError as error:
            raise _OnTheWay(f"the connection broke: {str(error) or type(error).__name__}") from None
        status = response.status_code
        if status == 429 or status >= 500:
            raise _OnTheWay(f"the server answers {status}", _after(response), reached=False)
        if status in (401, 403):
            raise MendableError(
                f"The teacher at {self.settings.url} refuses the key: put the right one into {self.settings.key_variable}."
            )
        if status == 404:
            raise MendableError(
                f"There is no model {self.settings.model} at {self.settings.url}: mend `teacher` in the settings."
            )
        if status != 200:
            said = body.decode(errors="replace")[:200]
            return Kept(None, f"the server refuses the request ({status}): {said}"), (0, 0)
        try:
            found = json.loads(body)
            choice = found["choices"][0]
            text, reason = choice["message"]["content"], choice.get("finish_reason")
            if not isinstance(text, str):
                raise TypeError
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise _OnTheWay("what the server answers is no chat completion") from None
        used = _usage(found.get("usage"), tokens_in, len(text) // CHARACTERS_A_TOKEN)
        return Kept(storable(text), "the answer was cut short" if reason == "length" else ""), used


async def each(items: Iterable[Item], work: Callable[[Item], Awaitable[Done]], at_once: int) -> list[Done]:
    """`work` on each item, so many at once; the results in the order of the items. The first error ends all of them."""
    numbered = enumerate(items)
    done: dict[int, Done] = {}

    async def worker() -> None:
        for number, item in numbered:
            done[number] = await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(worker())
    except* MendableError as errors:
        raise errors.exceptions[0] from None
    return [done[number] for number in sorted(done)]


async def _bounded(response: httpx.Response) -> bytes:
    parts = bytearray()
    async for part in response.aiter_bytes():
        parts += part
        if len(parts) > MOST_BYTES:
            raise _OnTheWay("the answer is far too long")
    return bytes(parts)


def _after(response: httpx.Response) -> float | None:
    """Seconds that the server wants to be left alone, by number or by date."""
    said = response.headers.get("Retry-After", "")
    try:
        return float(said)
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except ValueError:
        return None


def _usage(said: Any, tokens_in: int, tokens_out: int) -> tuple[int, int]:
    """Tokens as the server counts them, or our estimate."""
    found = said if isinstance(said, dict) else {}
    asked, answered = found.get("prompt_tokens"), found.get("completion_tokens")
    return (
        asked if isinstance(asked, int) and asked >= 0 else tokens_in,
        answered if isinstance(answered, int) and answered >= 0 else tokens_out,
    )


def _json_in(text: str) -> str:
    """The JSON object in an answer that has thoughts before it, or a fence about it."""
    text = text.rpartition("</think>")[2]
    begin, end = text.find("{"), text.rfind("}")
    return text[begin : end + 1] if 0 <= begin < end else text
