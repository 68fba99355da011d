"""From judged groups to what the learner reads: streams of tokens with a weight for each, which is an advantage times a share."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from training.common.records import Sample
from training.datasets.requests import Task
from training.rewards.combine import advantages, total
from training.rollouts.gather import Group
from training.rollouts.records import Logprobs, Tokens
from training.rollouts.settings import GroupSettings


def row(task: Task, tokens: Tokens, weight: float) -> Sample:
    """A story of the policy as the learner reads it: the prompt is given, each token of the answer has the weight."""
    weights = np.zeros(len(task.tokens) + len(tokens), dtype=np.float32)
    weights[len(task.tokens) :] = weight
    return Sample(np.concatenate([np.asarray(task.tokens, dtype=np.int32), tokens]), weights)


@dataclass(frozen=True, eq=False)
class Row:
    """A story with its weights, and the log-probability that each of its learned tokens was drawn with; NaN in a human story."""

    sample: Sample
    drawn: Logprobs


@dataclass
class Learned:
    """What a group gives to a step. `count` is what the step's sum of losses is divided by: tokens, or parts of `mean_within` stories."""

    rows: list[Row] = field(default_factory=list)
    human: Row | None = None
    """Apart, with the weight of its own advantage alone, where its loss has a count of its own."""
    count: float = 0.0
    told: dict[str, float] = field(default_factory=dict)
    """Sums over the group's stories, and under `stories`, `groups`, ... of how many."""


def learned(group: Group, settings: GroupSettings, step: int) -> Learned:
    """The rows of a group at `step`, from 0. Stories that count nothing have no row, but their tokens are counted: they are part of the mean."""
    how, human = settings.rewards, settings.human
    verdicts = [verdict.rewards for verdict in group.verdicts]
    found = advantages(verdicts, group.human.rewards if group.human else None, how)
    counted = [
        (story, advantage)
        for story, advantage in zip(group.stories, found.policy, strict=True)
        if advantage is not None
    ]
    rows = [Row(row(group.task, story.tokens, advantage), story.logprobs) for story, advantage in counted]
    told = _told(group, settings, found.policy)
    if found.deviation is not None:
        told |= {"deviation": found.deviation, "compared": 1.0}
    of_human = None
    if human and found.human is not None:
        assert group.task.human is not None
        advantage, clamped = human.bounded(found.human)
        told |= {"human_advantage": found.human, "human_clamped": float(clamped), "humans": 1.0}
        given = group.task.human
        of_human = Row(
            Sample(given.tokens, given.weights * np.float32(human.weight_at(step) * advantage)),
            np.full(given.learned, np.nan, dtype=np.float32),
        )
    own = settings.human is not None and settings.human.own_count
    together = rows if own or of_human is None else [*rows, of_human]
    kept, count = _shared(together, [len(story.tokens) for story, _ in counted], group, settings)
    return Learned(kept, of_human if own else None, count, told)


def _shared(rows: list[Row], lengths: list[int], group: Group, settings: GroupSettings) -> tuple[list[Row], float]:
    """The rows with their shares of the mean, and what all is to be divided by."""
    human = [] if len(rows) == len(lengths) else [group.task.human.learned if group.task.human else 0]
    sizes = [*lengths, *human]
    if not settings.mean_within:
        return [one for one in rows if one.sample.weights.any()], float(sum(sizes))
    kept, parts = [], 0
    for first in range(0, len(rows), settings.mean_within):
        part = slice(first, first + settings.mean_within)
        share = np.float32(1 / sum(sizes[part]))
        kept += [Row(Sample(one.sample.tokens, one.sample.weights * share), one.drawn) for one in rows[part]]
        parts += 1
    return [one for one in kept if one.sample.weights.any()], float(parts)


def _told(group: Group, settings: GroupSettings, found: list[float | None]) -> dict[str, float]:
    told = {"stories": float(len(group.stories)), "groups": 1.0, "absent": float(sum(one is None for one in found))}
    told |= {"tokens_drawn": float(sum(len(story.tokens) for story in group.stories))}
    told |= {"cut": float(sum(not story.ended for story in group.stories))}
    told |= {"surprise": float(-sum(np.nansum(story.logprobs, dtype=np.float64) for story in group.stories))}
    how = settings.rewards
    for verdict in group.verdicts:
        value = total(verdict.rewards, how) if how.how == "weighted" else None
        scores = (
            {f"reward_{name}": one for name, one in verdict.rewards.items()} | {"reward": value} | dict(verdict.notes)
        )
        for name, one in scores.items():
            if one is not None:
                told[name] = told.get(name, 0.0) + one
                told[f"of_{name}"] = told.get(f"of_{name}", 0.0) + 1
    return told


def human_rows(groups: list[Learned], count: float) -> list[Row]:
    """Human rows whose loss has a count of its own, weighed so that a division by `count` leaves the mean over human tokens."""
    own = [one.human for one in groups if one.human is not None]
    tokens = sum(len(one.drawn) for one in own)
    share = np.float32(count / tokens) if tokens else np.float32(0)
    return [
        Row(Sample(one.sample.tokens, one.sample.weights * share), one.drawn) for one in own if one.sample.weights.any()
    ]
