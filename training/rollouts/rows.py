"""Converts scored groups to rows for the learner: tokens with a weight for each, which is an advantage times a share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from training.common.records import Sample
from training.datasets.requests import Request
from training.rewards.combine import advantages, total, usable
from training.rollouts.gather import Group
from training.rollouts.records import Logprobs, Tokens
from training.rollouts.settings import GroupSettings


def policy_sample(request: Request, tokens: Tokens, weight: float) -> Sample:
    """A story of the policy as a row: the prompt has weight 0, each token of the answer the given weight."""
    weights = np.zeros(len(request.tokens) + len(tokens), dtype=np.float32)
    weights[len(request.tokens) :] = weight
    return Sample(np.concatenate([np.asarray(request.tokens, dtype=np.int32), tokens]), weights)


@dataclass(frozen=True, eq=False)
class RolloutRow:
    """A story with its weights, and the log-probability with which each learned token was sampled; NaN in a human story."""

    sample: Sample
    sampled: Logprobs


def empty_row(tokens: Sequence[int]) -> RolloutRow:
    """A row without effect: the engine needs the end of a step, even if all its stories are equally good."""
    return RolloutRow(
        Sample(np.asarray(tokens, dtype=np.int32), np.zeros(len(tokens), dtype=np.float32)),
        np.empty(0, dtype=np.float32),
    )


@dataclass
class ScoredGroup:
    """What a group contributes to a step. `count` is its part of the divisor of the step's losses: tokens, or parts of `mean_within` stories."""

    rows: list[RolloutRow] = field(default_factory=list)
    human: RolloutRow | None = None
    """The human story where its loss has a count of its own: its weights are its advantage alone."""
    count: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    """Sums over the group's stories, and under `stories`, `groups`, ... how many."""


def score_group(group: Group, settings: GroupSettings, step: int) -> ScoredGroup:
    """The group's advantages as rows, at `step` (from 0). Stories of advantage 0 have no row, but their tokens count: they are part of the mean."""
    how, human = settings.rewards, settings.human
    found = advantages([score.rewards for score in group.scores], group.human.rewards if group.human else None, how)
    counted = [
        (story, advantage)
        for story, advantage in zip(group.stories, found.policy, strict=True)
        if advantage is not None
    ]
    rows = [
        RolloutRow(policy_sample(group.request, story.tokens, advantage), story.logprobs)
        for story, advantage in counted
    ]
    metrics = _metrics(group, settings, found.policy)
    if found.deviation is not None:
        metrics |= {"deviation": found.deviation, "compared": 1.0}
    human_row = None
    if human and found.human is not None:
        assert group.request.human is not None
        advantage, clamped = human.bounded(found.human)
        metrics |= {"human_advantage": found.human, "human_clamped": float(clamped), "humans": 1.0}
        given = group.request.human
        human_row = RolloutRow(
            Sample(given.tokens, given.weights * np.float32(human.weight_at(step) * advantage)),
            np.full(given.learned, np.nan, dtype=np.float32),
        )
    own = human is not None and human.own_count
    together = rows if own or human_row is None else [*rows, human_row]
    kept, count = _weighed(together, [len(story.tokens) for story, _ in counted], group, settings)
    return ScoredGroup(kept, human_row if own else None, count, metrics)


def _weighed(
    rows: list[RolloutRow], lengths: list[int], group: Group, settings: GroupSettings
) -> tuple[list[RolloutRow], float]:
    """The rows with their shares of the mean, and the group's part of the divisor."""
    human = [] if len(rows) == len(lengths) else [group.request.human.learned if group.request.human else 0]
    sizes = [*lengths, *human]
    if not settings.mean_within:
        return [one for one in rows if one.sample.weights.any()], float(sum(sizes))
    kept, parts = [], 0
    for first in range(0, len(rows), settings.mean_within):
        part = slice(first, first + settings.mean_within)
        share = np.float32(1 / sum(sizes[part]))
        kept += [RolloutRow(Sample(one.sample.tokens, one.sample.weights * share), one.sampled) for one in rows[part]]
        parts += 1
    return [one for one in kept if one.sample.weights.any()], float(parts)


def _metrics(group: Group, settings: GroupSettings, found: list[float | None]) -> dict[str, float]:
    metrics = {"stories": float(len(group.stories)), "groups": 1.0, "absent": float(sum(one is None for one in found))}
    metrics |= {"tokens_drawn": float(sum(len(story.tokens) for story in group.stories))}
    metrics |= {"cut": float(sum(not story.ended for story in group.stories))}
    metrics |= {"surprise": float(-sum(np.nansum(story.logprobs, dtype=np.float64) for story in group.stories))}
    how = settings.rewards
    for name in how.weights:
        if missing := sum(score.rewards.get(name) is None for score in group.scores):
            metrics[f"absent_{name}"] = float(missing)
    for score in group.scores:
        value = total(score.rewards, how) if how.how == "weighted" else None
        values = {f"reward_{name}": one for name, one in score.rewards.items()} | {"reward": value} | dict(score.notes)
        for name, one in values.items():
            if one is not None and usable(one):
                metrics[name] = metrics.get(name, 0.0) + one
                metrics[f"of_{name}"] = metrics.get(f"of_{name}", 0.0) + 1
    return metrics


def human_rows(groups: list[ScoredGroup], count: float) -> list[RolloutRow]:
    """The human rows whose loss has a count of its own, weighed so that a division by `count` leaves the mean over human tokens."""
    own = [one.human for one in groups if one.human is not None]
    tokens = sum(len(one.sampled) for one in own)
    share = np.float32(count / tokens) if tokens else np.float32(0)
    return [
        RolloutRow(Sample(one.sample.tokens, one.sample.weights * share), one.sampled)
        for one in own
        if one.sample.weights.any()
    ]
