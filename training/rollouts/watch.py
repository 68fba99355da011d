"""What no reward sees: a second judge's eyes on the policy's stories, and what the rewards make of texts that were made to please them.

Looked at every `guards.every` steps, on the first stories of that step. `looks.jsonl` keeps what was seen, so that a run that goes on remembers.

disagreement    how far the second judge's mean has fallen since an earlier look at which the first one's was lower
probe_padded    what the rewards give a story made worse in that way (`training.rewards.probes`), above what they give the story itself
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from training.common.answers import parts
from training.common.append_only import whole_lines
from training.common.errors import MendableError
from training.datasets.requests import Task
from training.rewards.combine import Rewards, total
from training.rewards.probes import PROBES
from training.rewards.records import Verdict
from training.rollouts.gather import Group, Judges
from training.rollouts.settings import GroupSettings
from training.teacher.client import each

AT_ONCE = 64


class Look(NamedTuple):
    """The means of both judges over the same stories."""

    step: int
    first: float
    second: float


class Watch:
    """`second` is None where only the first judge's rewards are probed."""

    def __init__(self, settings: GroupSettings, scoring: Judges, second: Judges | None, path: Path) -> None:
        self._settings, self._scoring, self._second, self._path = settings, scoring, second, path
        self._looks = _read(path)

    async def look(self, step: int, groups: Sequence[Group]) -> dict[str, float]:
        """At the stories of `step`; what is to be told of them."""
        return await self._second_opinion(step, groups) | await self._probe(groups)

    async def _second_opinion(self, step: int, groups: Sequence[Group]) -> dict[str, float]:
        if self._second is None:
            return {}
        second = self._second
        scored = [
            (group.task, story.text, first)
            for group in groups
            for story, verdict in zip(group.stories, group.verdicts, strict=True)
            if (first := judged(verdict.rewards)) is not None
        ][: self._settings.guards.stories]

        async def read(one: tuple[Task, str, float]) -> float | None:
            return judged((await second.verdict(one[0], one[1])).rewards)

        answers = await each(scored, read, AT_ONCE)
        both = [(first, other) for (_, _, first), other in zip(scored, answers, strict=True) if other is not None]
        if not both:
            return {}
        now = Look(step, *map(fmean, zip(*both, strict=True)))
        self._keep(now)
        return {"first_judge": now.first, "second_judge": now.second, "disagreement": disagreement(self._looks, now)}

    async def _probe(self, groups: Sequence[Group]) -> dict[str, float]:
        rng = random.Random(0)
        texts = [one for group in groups if (one := _best(group, self._settings)) is not None]
        probes = [
            (name, task, answer, worth, make(parts(answer).text, rng))
            for task, answer, worth in texts[: self._settings.guards.probes]
            for name, make in PROBES.items()
        ]

        async def tried(one: tuple[str, Task, str, float, str]) -> tuple[str, float] | None:
            name, task, answer, worth, worse = one
            found = await self._scoring.verdict(task, answer.replace(parts(answer).text, worse))
            value = total(found.rewards, self._settings.rewards)
            return None if value is None else (f"probe_{name}", value - worth)

        found = [one for one in await each(probes, tried, AT_ONCE) if one is not None]
        by_name = {name: [value for other, value in found if other == name] for name, _ in found}
        return {name: fmean(values) for name, values in by_name.items()}

    def _keep(self, one: Look) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(one._asdict()) + "\n")
        self._looks[one.step] = one


def judged(rewards: Rewards) -> float | None:
    """What a judge, or the model that stands for the editors, says of a story."""
    found = (rewards.get(name) for name in ("quality", "preference", "principles"))
    return next((one for one in found if one is not None), None)


def disagreement(looks: Mapping[int, Look], now: Look) -> float:
    """How far the second judge's mean has fallen, at most, since a look at which the first one's was lower; 0 where it has not.

    >>> disagreement({0: Look(0, 0.2, 0.3), 10: Look(10, 0.4, 0.5)}, Look(20, 0.5, 0.35))
    0.15000000000000002
    """
    falls = (one.second - now.second for one in looks.values() if one.step < now.step and one.first < now.first)
    return max([0.0, *falls])


def _best(group: Group, settings: GroupSettings) -> tuple[Task, str, float] | None:
    """A good text of a group, with its worth: the human story where it was scored, else the best of the policy's."""
    answers: list[tuple[str, Verdict]] = [
        (story.text, verdict) for story, verdict in zip(group.stories, group.verdicts, strict=True)
    ]
    if group.human is not None:
        answers = [(group.task.human_answer, group.human)]
    scored = [
        (worth, answer)
        for answer, verdict in answers
        if parts(answer).text and (worth := total(verdict.rewards, settings.rewards)) is not None
    ]
    return (group.task, (best := max(scored))[1], best[0]) if scored else None


def _read(path: Path) -> dict[int, Look]:
    if not path.exists():
        return {}
    try:
        found = [
            Look(int(one["step"]), float(one["first"]), float(one["second"]))
            for one in map(json.loads, whole_lines(path))
        ]
    except (ValueError, KeyError, TypeError):
        raise MendableError(f"{path} holds a line that is no look at the stories: take the file away.") from None
    return {one.step: one for one in found}
