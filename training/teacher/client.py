"""The client of a teacher: hundreds of concurrent questions, each answered in JSON with a schema, paid for once, and stored.

    async with Teacher(settings, folder / "calls.jsonl") as teacher:
        rewrite = await teacher.ask(Question(messages, Rewrite, seed=7))      # a Rewrite, or Absent is raised

Answered questions are not asked again, so a stage that was killed resumes from its calls, and `replay` needs no server. A question
with a reworded prompt is another question; a replay that finds an answer to none ends with a MendableError.
If the server is unavailable, slow, or answers 429 or 5xx, the request is retried with back-off. If an answer is cut short or does not
match the schema, the question is asked once more, with another seed. A question without an answer is `Absent`, with the reason, and
only its row fails. A refused key, a missing model, a server that has stopped answering, and one that refuses question after question end the
stage, so that no rows are lost because of a wrong setting. A field of the request that a server does not take (`max_tokens`, `temperature`) is
left out or renamed, and said; in place of a `response_format` the prompt has the schema in words.

Answers are untrusted: limited in size, validated, and only used as data. Texts never become control tokens (`training.common.control_strings`).
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import ValidationError

from training.common.control_strings import controls_in, joined
from training.common.errors import MendableError
from training.common.question import A, Question
from training.common.redaction import redact
from training.common.text import Message, storable
from training.config.teacher import TeacherSettings
from training.serving.client import Completion, ModelClient
from training.serving.http import Refused, ServerFailed, Unavailable
from training.serving.tokens import chat_tokens, parted_messages
from training.teacher.calls import Calls, Kept, key_of
from training.teacher.limits import Budget, Pace

Item = TypeVar("Item")
Done = TypeVar("Done")

CHARACTERS_A_TOKEN = 3
SILENT = 20
"""Failed requests in a row, without any answer between them, after which the server counts as gone."""
REFUSED, REFUSED_LATER = 10, 100
"""Refused requests in a row after which all are refused: before the first answer, and after it, since texts that are too long may come together."""
_MAY_GO = ("max_tokens", "top_p", "temperature", "seed", "reasoning_effort")
_SCHEMA_REFUSED = re.compile(r"response[_ -]?format|json[_ -]?schema|structured[_ -]output", re.IGNORECASE)
_IN_WORDS = (
    "Answer with one JSON object and nothing else: no explanation, no code fence. It must be valid by this JSON Schema:"
)
_NOT_TAKEN = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|not (?:allowed|permitted|accepted)|extra|deprecated|only the default|both|instead",
    re.IGNORECASE,
)


_INSTEAD = {
    "max_tokens": "max_completion_tokens is sent instead",
    "response_format": "the prompt asks for the form of answers, and each is checked as before",
}


class Absent(Exception):
    """There is no answer; the message tells why. It is a missing value, never zero."""


class Teacher:
    """Use it with `async with`, in one thread."""

    def __init__(
        self,
        settings: TeacherSettings,
        calls: Path,
        environment: dict[str, str] | None = None,
        *,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.settings, self._say = settings, say
        self.why_absent = ""
        """Why the newest question without an answer has none."""
        self.calls, self._path = Calls(calls), calls
        self._found: set[bool] = set()
        self.budget = Budget(settings.most_tokens, settings.most_money, settings.price_in, settings.price_out)
        self._requests, self._tokens = Pace(settings.requests_per_minute), Pace(settings.tokens_per_minute)
        self._turn = asyncio.Semaphore(settings.at_once)
        self._silent = self._refusals = 0
        self._answers = any(one.answer is not None for one in self.calls.kept.values())
        self._left_out: set[str] = set()
        key = (os.environ if environment is None else environment).get(settings.key_variable, "")
        self._client = ModelClient(
            settings.url, key, seconds=settings.seconds, at_once=settings.at_once, own=settings.inside
        )

    async def __aenter__(self) -> Self:
        self.budget.spent = self.budget.cost(self.calls.tokens_in, self.calls.tokens_out)
        return self

    async def __aexit__(self, error: type[BaseException] | None, *_: object) -> None:
        await self._client.close()
        self.calls.close()
        if error is None and self.settings.replay and self._found == {False}:
            raise MendableError(
                f"No call in {self._path} answers any of these questions: the calls were made by other prompts or settings, as those of an earlier "
                "version are. Ask a teacher, without `teacher.replay`."
            )

    def metrics(self) -> dict[str, float]:
        """The cost of all calls so far, including earlier runs of the same command."""
        return {
            "asked": self.calls.count,
            "tokens_in": self.calls.tokens_in,
            "tokens_out": self.calls.tokens_out,
            "money": round(self.budget.spent.money, 6),
        }

    async def ask(self, question: Question[A]) -> A:
        """The answer to a question. Raises Absent if there is none, and MendableError if no question can be answered."""
        try:
            return await self._ask(question)
        except Absent as absent:
            self.why_absent = str(absent)
            raise

    async def _ask(self, question: Question[A]) -> A:
        why, texts = "", [message["content"] for message in question.messages]
        for again in range(2):
            kept = await self._answered(self._body(question, question.seed + again))
            if kept.answer is None:
                raise Absent(kept.failed)
            if kept.failed:
                why = kept.failed
                continue
            try:
                found = question.answer.model_validate_json(storable(_json_in(joined(kept.answer, texts))))
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
            "max_tokens": self.settings.most_answer_tokens or question.most_tokens,
            "temperature": temperature,
            "seed": seed,
        }
        if self.settings.top_p is not None:
            body["top_p"] = self.settings.top_p
        if self.settings.reasoning_effort != "default":
            body["reasoning_effort"] = self.settings.reasoning_effort
        if self.settings.structured:
            shape = {"name": question.answer.__name__, "strict": True, "schema": question.answer.model_json_schema()}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
        return body

    async def _answered(self, asked: dict[str, Any]) -> Kept:
        key = key_of(asked)
        kept = self.calls.kept.get(key)
        self._found.add(kept is not None)
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
        """The answer, its tokens, and the number of attempts. A failed request counts as having cost its prompt."""
        failed, lost = "", 0
        for attempt in range(1, self.settings.tries + 1):
            try:
                async with self._turn:
                    await self._requests.take()
                    await self._tokens.take(tokens_in + asked["max_tokens"])
                    found = await self._complete(asked)
            except Unavailable as error:
                failed, lost = str(error), lost + tokens_in * error.reached
                wait = error.wait(attempt)
                if error.retry_after is not None:
                    self._requests.hold(wait)
                if attempt < self.settings.tries:
                    await asyncio.sleep(wait)
            except Refused as error:
                self._silent = 0
                return self._refused(error), (lost, 0), attempt
            else:
                self._silent = self._refusals = 0
                self._answers = True
                used_in, used_out = _tokens_of(found, tokens_in)
                cut_short = "the answer was cut short" if found.finish_reason == "length" else ""
                return Kept(found.text, cut_short), (used_in + lost, used_out), attempt
        self._silent += 1
        if self._silent >= SILENT:
            raise MendableError(
                f"The teacher at {self.settings.url} answers nobody any more: {failed}. The same command resumes where this one ended."
            )
        return Kept(None, failed), (lost, 0), self.settings.tries

    async def _complete(self, asked: dict[str, Any]) -> Completion:
        """Send a request, without the fields that the server has refused so far."""
        while True:
            messages = asked["messages"]
            if "response_format" in self._left_out & asked.keys():
                messages = _with_schema(messages, asked["response_format"]["json_schema"]["schema"])
            body = {name: value for name, value in asked.items() if name not in {*self._left_out, "messages"}}
            body |= await self._as_letters(messages)
            if "max_tokens" in self._left_out:
                body["max_completion_tokens"] = asked["max_tokens"]
            try:
                return await self._client.complete(body)
            except Refused as error:
                name = refused_field(error, body)
                if name is None:
                    raise
                if name not in self._left_out:
                    self._left_out.add(name)
                    how = _INSTEAD.get(name, "it is left out")
                    self._say(f"{self.settings.model} at {self.settings.url} does not take {name}: {how}.")

    async def _as_letters(self, messages: Sequence[Message]) -> dict[str, Any]:
        """The messages with no text that can become a control token: token ids for a server of the site, otherwise parted letters."""
        if not any(controls_in(message["content"]) for message in messages):
            return {"messages": messages}
        if self.settings.inside:
            try:
                return {"prompt": await chat_tokens(self._client.ask, self.settings.model, messages)}
            except ServerFailed:
                pass  # it is no vLLM
        return {"messages": parted_messages(messages)}

    def _refused(self, error: Refused) -> Kept:
        """Handle a refused request. Raises MendableError if no request can succeed."""
        said = redact(str(error))
        if error.status in (401, 403):
            raise MendableError(
                f"The teacher at {self.settings.url} refuses the key: put the right one into {self.settings.key_variable} ({said})."
            )
        if error.status == 404:
            raise MendableError(
                f"There is no model {self.settings.model} at {self.settings.url}: correct `teacher` in the settings ({said})."
            )
        self._refusals += 1
        if self._refusals >= (REFUSED_LATER if self._answers else REFUSED):
            raise MendableError(
                f"The teacher at {self.settings.url} refuses one question after another: {said}. Correct its settings; the same command resumes "
                "where this one ended."
            )
        return Kept(None, said)


def refused_field(error: Refused, body: Mapping[str, Any]) -> str | None:
    """The field of a request that its server does not take, by the words of the refusal; None if it refused something else."""
    said = str(error)
    if error.status not in (400, 422):
        return None
    named = [name for name in _MAY_GO if name in body and re.search(rf"\b{name}\b", said)]
    if named and _NOT_TAKEN.search(said):
        return named[0]
    return "response_format" if "response_format" in body and _SCHEMA_REFUSED.search(said) else None


def _with_schema(messages: Sequence[Message], schema: Mapping[str, Any]) -> list[Message]:
    """The messages, the last of which asks for an answer by the schema."""
    *before, last = messages
    asked = f"{last['content']}\n\n{_IN_WORDS}\n{json.dumps(schema, ensure_ascii=False)}"
    return [*before, {"role": last["role"], "content": asked}]


async def each(items: Iterable[Item], work: Callable[[Item], Awaitable[Done]], at_once: int) -> list[Done]:
    """Apply `work` to each item concurrently, with a limit; the results are in the order of the items. The first error cancels the others."""
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


def _tokens_of(found: Completion, tokens_in: int) -> tuple[int, int]:
    """Tokens of the prompt and of the answer: as the server counts them, or estimated."""
    tokens_out = len(found.text) // CHARACTERS_A_TOKEN
    return (
        tokens_in if found.tokens_in is None else found.tokens_in,
        tokens_out if found.tokens_out is None else found.tokens_out,
    )


def _json_in(text: str) -> str:
    """The JSON object in an answer, without a thinking part before it or a code fence around it."""
    text = text.rpartition("</think>")[2]
    begin, end = text.find("{"), text.rfind("}")
    return text[begin : end + 1] if 0 <= begin < end else text
