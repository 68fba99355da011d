"""Scores stories by all rewards with a weight, as soon as a story is written.

A missing judgement is None. Texts of the policy and answers of judges are only used as data.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Sequence

from training.common.answers import split_answer
from training.common.question import A, Question
from training.config.declarations import Answer, Ask, Resources, Reward, Score
from training.datasets.requests import Request
from training.evaluate.repetition import repeated
from training.rewards.combine import usable
from training.rewards.counts import polaris_tokens, polaris_words
from training.rewards.probes import addresses_a_judge
from training.rewards.records import StoryScore
from training.rewards.registry import REWARDS
from training.rewards.settings import RewardSettings
from training.teacher.client import Absent, Teacher, each


class Scoring:
    """Scores answers by the rewards of `settings`, with the `resources` that they need. The `teachers` must be open meanwhile."""

    def __init__(self, settings: RewardSettings, resources: Resources, teachers: Sequence[Teacher] = ()) -> None:
        self.teachers = teachers
        self._rewards = [
            (REWARDS[name], _resources_of(REWARDS[name], settings, resources)) for name in settings.weights
        ]

    @property
    def why_absent(self) -> str:
        """The newest reason why a judge had no answer; "" if there was none."""
        return next((one.why_absent for one in self.teachers if one.why_absent), "")

    async def score(self, request: Request, raw: str) -> StoryScore:
        """The rewards of an answer as the model wrote it, with thinking and tags.

        A value that is not a finite number is missing, and counted in the note `not_finite`. Raises MendableError if a judge cannot be asked at
        all (`training.teacher.client`).
        """
        thinking, text = split_answer(raw)
        answer = Answer(request.prompt, request.target, raw, thinking, text, request.thinks)

        async def scored(one: tuple[Reward, Resources]) -> Score:
            reward, given = one
            if inspect.iscoroutinefunction(reward.score):
                found = await reward.score(answer, given)
            else:
                found = await asyncio.to_thread(reward.score, answer, given)
            return _finite(found if isinstance(found, Score) else Score(found))

        notes = await asyncio.to_thread(measures, answer)
        scores = await each(self._rewards, scored, len(self._rewards))
        for one in scores:
            lost = notes.get("not_finite", 0.0) + one.notes.get("not_finite", 0.0)
            notes |= {**one.notes, **({"not_finite": lost} if lost else {})}
        return StoryScore(
            {reward.name: one.value for (reward, _), one in zip(self._rewards, scores, strict=True)}, notes
        )


def _finite(score: Score) -> Score:
    """The score without what is not a finite number: neither a group's statistics nor a dump may hold it."""
    notes = {name: float(value) for name, value in score.notes.items() if math.isfinite(value)}
    if score.value is None or usable(score.value):
        return Score(None if score.value is None else float(score.value), notes)
    return Score(None, notes | {"not_finite": 1.0})


def _resources_of(reward: Reward, settings: RewardSettings, resources: Resources) -> Resources:
    """Only the resources that the reward needs, with its settings."""
    needed = {need: getattr(resources, need) for need in reward.needs}
    return Resources(**needed, settings=getattr(settings, reward.name) if reward.settings else None)


def asking(teacher: Teacher) -> Ask:
    """Ask the teacher; None if it has no answer."""

    async def ask(question: Question[A]) -> A | None:
        try:
            return await teacher.ask(question)
        except Absent:
            return None

    return ask


def measures(answer: Answer) -> dict[str, float]:
    """Notes on every story: its words, their ratio to the requested ones, its repetition, its words of thinking, and whether it addresses a judge."""
    found = {
        "words": float(polaris_words(answer.text)),
        "thinking_words": float(polaris_words(answer.thinking)),
        "repeated": repeated(polaris_tokens(answer.text), 4),
        "addresses_judge": float(addresses_a_judge(answer.text)),
    }
    return found | ({"length_ratio": found["words"] / answer.target} if answer.target else {})
