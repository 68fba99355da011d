"""One story and the model server: ask, read, ask again, wait out what fails. The narrator's tick does the rest."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import structlog

from training.common.text import length_note, story_request
from workers.narrator.prompt import Prompter, Spoken, UnusableModel
from workers.narrator.upstream import Answer, Away, Broken, ModelServer, TooLong
from workers.narrator.wire import Exchange
from workers.narrator.writing import Decision, Writing
from writer.stories.models import Ending, State

log = structlog.get_logger()

TRIES = 5
_BACK_OFF_MOST = 5.0
_ESCAPE_TOKENS, _JUST_NOW = 200, 60
"""What a model repeats it has before its eyes. After a loop it is shown less, down to a fifth of the context; and so many tokens of an
answer that begins within so many words of the loop are sampled away from those that it sees, the further the more loops there were."""
_LEAST_TOKENS = 16
"""So many before the model may end its turn: asked to go on, it does."""

AWAY = "The model server is unavailable. The story continues by itself as soon as it answers."
FAULTY = "The model server answers with errors. Trying again."
GAVE_UP = "The model server failed five times in a row: {reason}. Continue tries again."


class Desk:
    def __init__(
        self,
        loaded: Any,
        *,
        server: Callable[[int], Awaitable[ModelServer]],
        prompter: Callable[[str, bool], Awaitable[Prompter]],
        hurry: Callable[[Desk], None],
        context: int,
        thinking: bool,
    ) -> None:
        """`hurry` asks for a tick now, for this story alone. `context` 0: what the model server says."""
        self.writing = Writing(loaded)
        self.id: UUID = loaded.id
        self.after = State.RUNNING
        """The state of the row behind the next append. Anything but running brings it to rest."""
        self.appended = 0.0
        self.said = ""
        self.rebasing = False
        self.task: asyncio.Task[None] | None = None
        self._version: int = loaded.model
        self._model: str = loaded.served_name
        self._tokenizer: str = loaded.tokenizer
        self._thinking = bool(self.writing.sampling.get("thinking", thinking))
        self._find_server, self._prompter, self._hurry = server, prompter, hurry
        self._server: ModelServer
        self._fixed_context, self._context = context, context
        self._answer: Answer | None = None
        self._spoken: Spoken | None = None
        self._decision: asyncio.Future[Decision] | None = None
        self._flowing = False
        """Whether the ticks read; else the story's own task does."""
        self._attend = asyncio.Event()
        self._heard = 0.0

    # What the tick calls

    def open_valve(self) -> None:
        if self._flowing and self._answer is not None:
            self._answer.exchange.open_valve()

    def read(self) -> None:
        """Take in what came since the last tick."""
        if self._flowing and self.after is State.RUNNING:
            self._read()

    def rest(self, state: State, notice: str = "") -> None:
        """Let the next append bring the row to rest; nothing more is read."""
        self.after = state
        self.writing.notice = notice
        self._hurry(self)

    def drop(self) -> None:
        """Stop asking, whatever is being read."""
        self.after = State.STOPPED
        if self.task is not None:
            self.task.cancel()

    # The story's own task

    async def write(self) -> None:
        """Ask until the story is over. Faults of the model server end here."""
        structlog.contextvars.bind_contextvars(story=str(self.writing.story), generation=str(self.id))
        writing, barren, away, shorter = self.writing, 0, 0, 0
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
                barren = 0
                continue
            barren += 1
            if barren >= TRIES:
                log.warning("given_up", reason=reason)
                return self.rest(State.FAILED, GAVE_UP.format(reason=reason))
            self._say(FAULTY)
            await _back_off(barren)

    async def _ask(self, shorter: int) -> Decision:
        """One request to the model, read to its end. `shorter`: so often the prompt was too long."""
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
            spoken=self._spoken,
        )
        self._spoken = prompt.spoken
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
        self._answer, self._decision, self._heard = answer, decision, time.monotonic()
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
        """Read what comes when it comes, until there is a decision or the first words are there."""
        while not (self._decision is None or self._decision.done() or (first_words and self.writing.has_news)):
            exchange.read_freely()
            try:
                async with asyncio.timeout(self._server.answer_seconds):
                    await exchange.wait()
            except TimeoutError:
                raise Broken("it fell silent") from None
            self._read()

    async def _read_on_ticks(self, exchange: Exchange) -> None:
        """Let the ticks read, until there is a decision or one is near."""
        exchange.read_on_tick()
        self._attend.clear()
        self._flowing = True
        try:
            await self._attend.wait()
        finally:
            self._flowing = False

    def _read(self) -> None:
        """Take in what has come of the answer. The decision on it, once there is one, wakes the story's task."""
        decision = self._decision
        if self._answer is None or decision is None or decision.done():
            return
        now = time.monotonic()
        try:
            reading = self._answer.read()
            if self._spoken is not None:
                for piece in reading.pieces:
                    self._spoken.add(*piece)
            if reading.text or reading.finish:
                self._heard = now
                result = self.writing.advance(reading.text, reading.finish)
                if result is Decision.CONTINUE and self.writing.enough_thinking(self._context):
                    result = Decision.AGAIN
                if result is not Decision.CONTINUE:
                    decision.set_result(result)
                if result is not Decision.CONTINUE or self.writing.decides_soon:
                    self._attend.set()
            elif now - self._heard > self._server.answer_seconds:
                raise Broken("it fell silent")
        except Broken as error:
            decision.set_exception(error)
            self._attend.set()

    def _say(self, notice: str) -> None:
        self.writing.notice = notice
        if notice != self.said:
            self._hurry(self)


async def _back_off(tries: int) -> None:
    await asyncio.sleep(min(0.25 * 2**tries, _BACK_OFF_MOST) * random.uniform(0.75, 1.0))


def sampling(writing: Writing) -> dict[str, Any]:
    """How to sample: as the generation asks, and away from what was said where that was just repeated."""
    asked = writing.sampling
    settings: dict[str, Any] = {
        "temperature": float(asked.get("temperature", 0.8)),
        "top_p": float(asked.get("top_p", 0.95)),
    }
    if writing.recent_loops(_JUST_NOW):
        settings["repetition_penalty"] = 1 + 0.1 * min(writing.recent_loops(), 6)
    if isinstance(seed := asked.get("seed"), int):
        settings["seed"] = (seed * 1_000_003 + writing.attempt * 1009 + writing.requests) % 2**31
    return settings
