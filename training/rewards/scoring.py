"""All that a story is rewarded for, asked and computed as soon as it is written.

What a judge cannot say is None, and stays so. Texts of the policy, and answers of judges, are never more than data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from training.common.answers import parts
from training.common.records import Principle
from training.constitution.principles import Known
from training.datasets.requests import Task
from training.evaluate.repetition import repeated
from training.rewards.counts import polaris_tokens, polaris_words
from training.rewards.form import longwriter_form, polaris_blank
from training.rewards.length import longwriter_length, polaris_length
from training.rewards.principles import adherence, adherence_question
from training.rewards.probes import addresses_a_judge
from training.rewards.quality import quality, quality_question
from training.rewards.ranges import Range, asked, range_question
from training.rewards.records import Verdict
from training.rewards.repetition import Embed, paraphrased, polaris_repetition
from training.rewards.settings import RewardSettings
from training.teacher.client import Absent, Question, Teacher

Prefer = Callable[[Task, str], float]
"""The preference model's number for a text."""


class Scoring:
    """Verdicts on answers. `judge` and `ranges` may be the same teacher; None where nothing is asked of them."""

    def __init__(
        self, settings: RewardSettings, *, judge: Teacher | None = None, ranges: Teacher | None = None, principles: Sequence[Known] = (),
        prefer: Prefer | None = None, embed: Embed | None = None,
    ) -> None:  # fmt: skip
        self._settings, self._judge, self._ranges = settings, judge, ranges
        self._principles: Sequence[Principle] = principles
        self._prefer, self._embed = prefer, embed
        self._one = asyncio.Lock()  # the preference model reads one text at a time

    @property
    def teachers(self) -> list[Teacher]:
        """Whom it asks: they want to be open before it is asked for a verdict."""
        return [one for one in (self._judge, self._ranges) if one is not None]

    async def verdict(self, task: Task, answer: str) -> Verdict:
        """Of an answer as the model wrote it, thinking and tags included."""
        thinking, text = parts(answer)
        names = self._settings.weights
        rewards: dict[str, float | None] = {}
        notes = await asyncio.to_thread(figures, text, thinking, task.target)
        asking: dict[str, Any] = {}
        async with asyncio.TaskGroup() as group:
            for name, ask in (("quality", self._quality), ("principles", self._adherence), ("range", self._range)):
                if name in names:
                    asking[name] = group.create_task(ask(task, text))
        for name in names:
            if name in asking:
                rewards[name], more = asking[name].result()
                notes |= more
            elif name == "preference":
                rewards[name] = await self._preference(task, text)
            else:
                rewards[name] = await asyncio.to_thread(self._by_rule, name, task, answer, text)
        return Verdict(rewards, notes)

    def _by_rule(self, name: str, task: Task, answer: str, text: str) -> float | None:
        match name:
            case "length":
                return None if task.target is None else polaris_length(text, task.target)
            case "repetition":
                return polaris_repetition(text)
            case "paraphrase":
                assert self._embed is not None
                return paraphrased(text, self._embed)
            case "blank":
                return polaris_blank(text)
            case "form":
                return longwriter_form(answer)
        raise AssertionError(name)

    async def _preference(self, task: Task, text: str) -> float:
        assert self._prefer is not None
        async with self._one:
            return await asyncio.to_thread(self._prefer, task, text)

    async def _quality(self, task: Task, text: str) -> tuple[float | None, Mapping[str, float]]:
        sheet = await _answer(self._judge, quality_question(task.prompt, text))
        if sheet is None:
            return None, {}
        scores = sheet.scores
        told = {f"rubric_{key}": float(score) for key, score in scores.scores.items()}
        return quality(scores), told | {"rubric_BONUS": float(scores.bonus), "rubric_PENALTY": float(scores.penalty)}

    async def _adherence(self, task: Task, text: str) -> tuple[float | None, Mapping[str, float]]:  # noqa: ARG002
        answer = await _answer(self._judge, adherence_question(text, self._principles))
        return (None if answer is None else adherence(answer, len(self._principles))), {}

    async def _range(self, task: Task, text: str) -> tuple[float | None, Mapping[str, float]]:
        found = asked(task.prompt)
        if found is None and self._ranges is not None:
            predicted = await _answer(self._ranges, range_question(task.prompt))
            found = None if predicted is None else Range(predicted.low, predicted.high)
        return (None if found is None else longwriter_length(text, *found, self._settings.longest)), {}


async def _answer(teacher: Teacher | None, question: Question[Any]) -> Any:
    assert teacher is not None
    try:
        return await teacher.ask(question)
    except Absent:
        return None


def figures(text: str, thinking: str, target: int | None) -> dict[str, float]:
    """What is told of every story: its words, what it got of what was asked, how much it repeats, and how many words it thought."""
    told = {
        "words": float(polaris_words(text)),
        "thinking_words": float(polaris_words(thinking)),
        "repeated": repeated(polaris_tokens(text), 4),
        "addresses_judge": float(addresses_a_judge(text)),
    }
    return told | ({"length_ratio": told["words"] / target} if target else {})
