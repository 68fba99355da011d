"""One story and the model server: sends requests, reads answers, and retries after failures. The narrator's tick does the rest."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import structlog

from training.common.text import length_note, story_request
from workers.narrator.prompt import CachedStory, Prompter, UnusableModel
from workers.narrator.upstream import Answer, Away, Broken, ModelServer, TooLong
from workers.narrator.wire import Exchange
from workers.narrator.writing import Decision, Writing
from writer.stories.models import Ending, State

log = structlog.get_logger()

TRIES = 5
_BACK_OFF_MOST = 5.0
_ESCAPE_TOKENS, _JUST_NOW = 200, 60
"""A model repeats what is in its context. After a loop it gets less of it, down to a fifth. If the loop is at most _JUST_NOW words back,
the next answer has at most _ESCAPE_TOKENS tokens and a repetition penalty that grows with the number of loops."""
_LEAST_TOKENS = 16
"""The model may not end its turn before so many tokens, so that it always continues."""

AWAY = "The model server is unavailable. The story continues by itself as soon as it answers."
FAULTY = "The model server answers with errors. Trying again."
GAVE_UP = "The model server failed five times in a row: {reason}. Continue tries again."


class Session:
    def __init__(
        self,
        loaded: Any,
        *,
        server: Callable[[int], Awaitable[ModelServer]],
        prompter: Callable[[str, bool], Awaitable[Prompter]],
        hurry: Callable[[Session], None],
        context: int,
        thinking: bool,
    ) -> None:
        """`hurry` requests an immediate tick for this story alone. `context` 0 means the value of the model server."""
        self.writing = Writing(loaded)
        self.id: UUID = loaded.id
        self.after = State.RUNNING
        """The state of the row after the next append. Any state but RUNNING ends the session."""
        self.appended = 0.0
        self.said = ""
        self.rebasing = False
        self.task: asyncio.Task[None] | None = None
        self._version: int = loaded.model
        self._model: str = loaded.served_name
        self._tokenizer: str = loaded.tokenizer
        chosen = self.writing.sampling.thinking
        self._thinking = thinking if chosen is None else chosen
        self._find_server, self._prompter, self._hurry = server, prompter, hurry
        self._server: ModelServer
        self._fixed_context, self._context = context, context
        self._answer: Answer | None = None
        self._cached: CachedStory | None = None
        self._decision: asyncio.Future[Decision] | None = None
        self._on_ticks = False
        """Whether the ticks read the answer; otherwise the story's own task does."""
        self._wake = asyncio.Event()
        self._last_text = 0.0

    # Called by the tick

    def resume(self) -> None:
        if self._on_ticks and self._answer is not None:
            self._answer.exchange.resume()

    def read(self) -> None:
        """Process the text received since the last tick."""
        if self._on_ticks and self.after is State.RUNNING:
            self._read()

    def rest(self, state: State, notice: str = "") -> None:
        """Set the final state of the row in the next append; nothing more is read."""
        self.after = state
        self.writing.notice = notice
        self._hurry(self)

    def drop(self) -> None:
        """Cancel the request."""
        self.after = State.STOPPED
        if self.task is not None:
            self.task.cancel()

    # The story's own task

    async def write(self) -> None:
        """Send requests until the story is finished. Errors of the model server are handled here."""
        structlog.contextvars.bind_contextvars(story=str(self.writing.story), generation=str(self.id))
        writing, failures, away, shorter = self.writing, 0, 0, 0
        if writing.complete:
            writing.ending = Ending.LANDED
            return self.rest(State.DONE)
        while True:
            progress = writing.progress
            try:
                decision, reason = await self._ask(shorter), "it wrote nothing"
                away = shorter = 0
            except Away as error:
                away += 1
                self._say(AWAY)
                log.warning("model_server_away", reason=str(error), tries=away)
                await _back_off(away)
                continue
            except TooLong:
                decision, reason, shorter = Decision.AGAIN, "the text is too long for it", shorter + 1
            except (Broken, UnusableModel) as error:
                decision, reason = Decision.AGAIN, str(error)
                log.warning("answer_broken", reason=reason)
            if decision is Decision.OVER:
                log.info("over", ending=writing.ending.value, words=writing.words, target=writing.length.target)
                return self.rest(State.DONE)
            if decision is Decision.FAILED:
                log.warning("given_up", reason=writing.notice)
                return self.rest(State.FAILED, writing.notice)
            if writing.progress != progress:
                failures = 0
                continue
            failures += 1
            if failures >= TRIES:
                log.warning("given_up", reason=reason)
                return self.rest(State.FAILED, GAVE_UP.format(reason=reason))
            self._say(FAULTY)
            await _back_off(failures)

    async def _ask(self, shorter: int) -> Decision:
        """Send one request and read the answer to its end. `shorter` counts prompts that were too long."""
        writing = self.writing
        self._server = await self._find_server(self._version)
        context = self._fixed_context or await self._server.context(self._model)
        self._context = context = context * (10 - min(shorter, 5)) // 10
        prompter = await self._prompter(self._tokenizer, self._thinking)
        written, plan = writing.begin(opens_thinking=prompter.opens_thinking)
        target, words = writing.length.target, writing.words
        request = story_request(title=writing.title, premise=writing.premise, target=target)
        note = length_note(target=target, written=words, landing=plan.landing)
        prompt = await asyncio.to_thread(
            prompter.build,
            request,
            written,
            context // (1 + min(writing.recent_loops(), 4)),
            note,
            landing=plan.landing,
            answer=writing.length.likely_tokens(words),
            cached=self._cached,
        )
        self._cached = prompt.cached
        most = writing.length.most_tokens(words) + (context if prompt.inside_thinking else 0)
        if writing.recent_loops(_JUST_NOW):
            most = min(most, _ESCAPE_TOKENS)
        body = {
            "model": self._model,
            "prompt": prompt.tokens,
            "stream": True,
            "return_token_ids": True,
            "max_tokens": max(min(prompt.room, most), 1),
            "min_tokens": min(prompt.room, _LEAST_TOKENS),
            "stop_token_ids": prompter.stop_ids,
            **sampling(writing),
        }
        answer = await self._server.complete(body)
        decision: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._answer, self._decision, self._last_text = answer, decision, time.monotonic()
        try:
            await self._read_at_once(answer.exchange, first_words=True)
            self._hurry(self)
            while not decision.done():
                if writing.decides_soon:
                    await self._read_at_once(answer.exchange)
                else:
                    await self._read_on_ticks(answer.exchange)
            self._hurry(self)
            return await decision
        finally:
            answer.close()
            self._answer, self._decision = None, None

    async def _read_at_once(self, exchange: Exchange, *, first_words: bool = False) -> None:
        """Read the answer as it arrives, until there is a decision or, with `first_words`, some text."""
        while not (self._decision is None or self._decision.done() or (first_words and self.writing.has_news)):
            exchange.read_freely()
            try:
                async with asyncio.timeout(self._server.answer_seconds):
                    await exchange.wait()
            except TimeoutError:
                raise Broken("it fell silent") from None
            self._read()

    async def _read_on_ticks(self, exchange: Exchange) -> None:
        """Let the ticks read the answer, until there is a decision or one is near."""
        exchange.read_on_tick()
        self._wake.clear()
        self._on_ticks = True
        try:
            await self._wake.wait()
        finally:
            self._on_ticks = False

    def _read(self) -> None:
        """Process the received part of the answer. A decision wakes the story's task."""
        decision = self._decision
        if self._answer is None or decision is None or decision.done():
            return
        now = time.monotonic()
        try:
            reading = self._answer.read()
            if self._cached is not None:
                for piece in reading.pieces:
                    self._cached.add(*piece)
            if reading.text or reading.finish:
                self._last_text = now
                result = self.writing.advance(reading.text, reading.finish)
                if result is Decision.CONTINUE and self.writing.enough_thinking(self._context):
                    result = Decision.AGAIN
                if result is not Decision.CONTINUE:
                    decision.set_result(result)
                if result is not Decision.CONTINUE or self.writing.decides_soon:
                    self._wake.set()
            elif now - self._last_text > self._server.answer_seconds:
                raise Broken("it fell silent")
        except Broken as error:
            decision.set_exception(error)
            self._wake.set()

    def _say(self, notice: str) -> None:
        self.writing.notice = notice
        if notice != self.said:
            self._hurry(self)


async def _back_off(tries: int) -> None:
    await asyncio.sleep(min(0.25 * 2**tries, _BACK_OFF_MOST) * random.uniform(0.75, 1.0))


def sampling(writing: Writing) -> dict[str, Any]:
    """The sampling parameters of the generation, with a repetition penalty just after a loop, and a seed of its own for each request."""
    settings = writing.sampling.parameters()
    if writing.recent_loops(_JUST_NOW):
        settings["repetition_penalty"] = 1 + 0.1 * min(writing.recent_loops(), 6)
    if (seed := writing.sampling.seed) is not None:
        settings["seed"] = (seed * 1_000_003 + writing.attempt * 1009 + writing.requests) % 2**31
    return settings
