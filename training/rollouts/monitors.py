"""Monitors of a run besides the rewards: a second judge scores the policy's stories, and the rewards score texts that were made to please them.

A check is made every `guards.every` steps, on the first stories of that step. The judges' scores are stored in `checks.jsonl`, for a resumed run; in the
folder of an older run the file is called `looks.jsonl`.

disagreement    the decrease of the second judge's mean since an earlier check with a lower mean of the first judge
probe_padded    the reward of a story made worse in that way (`training.rewards.probes`), minus that of the story itself
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from training.common.answers import split_answer
from training.common.append_only import whole_lines
from training.common.errors import MendableError
from training.datasets.requests import Request
from training.rewards.combine import Rewards, total
from training.rewards.probes import PROBES
from training.rewards.records import StoryScore
from training.rewards.registry import REWARDS
from training.rollouts.gather import Group, StoryScorer
from training.rollouts.settings import GroupSettings
from training.teacher.client import each

AT_ONCE = 64


class Check(NamedTuple):
    """The mean scores of both judges for the same stories."""

    step: int
    first: float
    second: float


class Monitors:
    """`second` is None if there is no second judge; the rewards are still probed."""

    def __init__(
        self, settings: GroupSettings, scorer: StoryScorer, second: StoryScorer | None, rollouts: Path
    ) -> None:
        """`rollouts` is the folder of the run's stories. Raises MendableError if its file of checks is invalid."""
        self._settings, self._scorer, self._second = settings, scorer, second
        older = rollouts / "looks.jsonl"
        self._path = older if older.exists() else rollouts / "checks.jsonl"
        self._checks = _read(self._path)

    async def check(self, step: int, groups: Sequence[Group]) -> dict[str, float]:
        """The metrics of a check on the stories of `step`."""
        return await self._second_opinion(step, groups) | await self._probe(groups)

    async def _second_opinion(self, step: int, groups: Sequence[Group]) -> dict[str, float]:
        if self._second is None:
            return {}
        second = self._second
        scored = [
            (group.request, story.text, first)
            for group in groups
            for story, score in zip(group.stories, group.scores, strict=True)
            if (first := judged(score.rewards)) is not None
        ][: self._settings.guards.stories]

        async def read(one: tuple[Request, str, float]) -> float | None:
            return judged((await second.score(one[0], one[1])).rewards)

        answers = await each(scored, read, AT_ONCE)
        both = [(first, other) for (_, _, first), other in zip(scored, answers, strict=True) if other is not None]
        if not both:
            return {}
        now = Check(step, *map(fmean, zip(*both, strict=True)))
        self._keep(now)
        return {"first_judge": now.first, "second_judge": now.second, "disagreement": disagreement(self._checks, now)}

    async def _probe(self, groups: Sequence[Group]) -> dict[str, float]:
        rng = random.Random(0)
        texts = [one for group in groups if (one := _best(group, self._settings)) is not None]
        probes = [
            (name, request, raw, worth, make(split_answer(raw).text, rng))
            for request, raw, worth in texts[: self._settings.guards.probes]
            for name, make in PROBES.items()
        ]

        async def scored(one: tuple[str, Request, str, float, str]) -> tuple[str, float] | None:
            name, request, raw, worth, worse = one
            found = await self._scorer.score(request, raw.replace(split_answer(raw).text, worse))
            value = total(found.rewards, self._settings.rewards)
            return None if value is None else (f"probe_{name}", value - worth)

        found = [one for one in await each(probes, scored, AT_ONCE) if one is not None]
        by_name = {name: [value for other, value in found if other == name] for name, _ in found}
        return {name: fmean(values) for name, values in by_name.items()}

    def _keep(self, one: Check) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(one._asdict()) + "\n")
        self._checks[one.step] = one


def judged(rewards: Rewards) -> float | None:
    """The score of a story by a judge or by the reward model: the first of these rewards with a value."""
    found = (rewards.get(name) for name, reward in REWARDS.items() if {"judge", "preference"} & set(reward.needs))
    return next((one for one in found if one is not None), None)


def disagreement(checks: Mapping[int, Check], now: Check) -> float:
    """The largest decrease of the second judge's mean since a check with a lower mean of the first judge; 0 without a decrease.

    >>> disagreement({0: Check(0, 0.2, 0.3), 10: Check(10, 0.4, 0.5)}, Check(20, 0.5, 0.35))
    0.15000000000000002
    """
    falls = (one.second - now.second for one in checks.values() if one.step < now.step and one.first < now.first)
    return max([0.0, *falls])


def _best(group: Group, settings: GroupSettings) -> tuple[Request, str, float] | None:
    """A good answer of a group, with its weighted sum: the human one if it was scored, otherwise the best of the policy."""
    answers: list[tuple[str, StoryScore]] = [
        (story.text, score) for story, score in zip(group.stories, group.scores, strict=True)
    ]
    if group.human is not None:
        answers = [(group.request.human_answer, group.human)]
    scored = [
        (worth, raw)
        for raw, score in answers
        if split_answer(raw).text and (worth := total(score.rewards, settings.rewards)) is not None
    ]
    return (group.request, (best := max(scored))[1], best[0]) if scored else None


def _read(path: Path) -> dict[int, Check]:
    if not path.exists():
        return {}
    try:
        found = [
            Check(int(one["step"]), float(one["first"]), float(one["second"]))
            for one in map(json.loads, whole_lines(path))
        ]
    except (ValueError, KeyError, TypeError):
        raise MendableError(f"{path} holds a line that is not a check: remove the file.") from None
    return {one.step: one for one in found}
