"""Group relative policy optimisation: the model writes stories, rewards score them, and it learns from what is better within each group.

By default it differs from the papers:

- Stories are sampled from the softmax, which is also what is scored, both at the same temperature; POLARIS samples with top-p, top-k and a repetition penalty
  (`files/papers/polaris.toml`).
- Means are over the tokens of the whole step; POLARIS' code takes them within two stories (`mean_within`).
- A human story's loss has a count of its own, its advantage has a cap, and an advantage below 0 counts as 0, which is reported.
- A story that a judge fails to score is left out; in POLARIS it gets the mean of the batch.
- There is one update for each batch, as in both papers, so no log-probabilities of an older policy and no clipping (`training.objectives.grpo`).

The learner begins while stories are still being written: gradients of whole groups add up as the groups complete, and are divided by the step's count
at its end. With `rollouts.max_staleness` 1 the next step's stories are written meanwhile.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from training.datasets.requests import Request
from training.learner.engine import Learner
from training.learner.finish import finish
from training.learner.run import Run, batches_of, steps_of
from training.objectives.grpo import grpo_losses, importance_ratios
from training.recipes.grpo import GrpoSettings
from training.rollouts.gather import Group, GroupRequest
from training.rollouts.rows import RolloutRow, ScoredGroup, empty_row, human_rows, score_group
from training.rollouts.run import Rollouts, open_rollouts


def grpo(settings: GrpoSettings) -> Path | None:
    """Train, or resume training. Returns the folder of the model, or None if the run was asked to stop before its last step."""
    with Run(settings) as run, open_rollouts(run, settings) as rollouts:
        take, per_epoch = batches_of(len(rollouts.requests), settings.batch, settings)
        learner = run.load_learner()
        total = steps_of(settings, per_epoch)
        evaluate = held_out(rollouts, learner) if rollouts.held_out else None
        first = group_requests(rollouts.requests, take(0), settings, 0)
        for step in run.steps(learner, total, fingerprint(rollouts.requests), evaluate):
            ahead = range(step, min(step + 1 + settings.rollouts.max_staleness, total))
            rollouts.next(learner, step, [group_requests(rollouts.requests, take(one), settings, one) for one in ahead])
            one = Step(learner, settings, step)
            for group in rollouts.groups(step):
                one.take(group)
            metrics = one.end() | rollouts.check(learner, step, first, last=step == total - 1)
            absent = rollouts.why_absent(metrics)
            rollouts.guards.check(step, metrics, absent)
            nothing = absent if metrics["absent"] == 1 else "the stories of each group had the same rewards"
            run.log_step(step, one.shares, divide=one.count, also=metrics | rollouts.metrics, nothing=nothing)
        return finish(run, learner)


def group_requests(
    requests: Sequence[Request], numbers: Sequence[int], settings: GrpoSettings, step: int
) -> list[GroupRequest]:
    """The groups of a step. While human stories have no weight yet, the policy writes in their place, as in POLARIS."""
    human = settings.human
    read = [bool(human and requests[number].human and human.weight_at(step)) for number in numbers]
    return [
        GroupRequest(requests[number], settings.group - one, one) for number, one in zip(numbers, read, strict=True)
    ]


class Step:
    """The gradients of one step, added up as its groups arrive."""

    def __init__(self, learner: Learner, settings: GrpoSettings, step: int) -> None:
        self._learner, self._settings, self._step = learner, settings, step
        self._groups: list[ScoredGroup] = []
        self._kept: list[RolloutRow] = []  # one row waits, since the engine must know which is the last
        self._sums: defaultdict[str, float] = defaultdict(float)
        self.seconds = 0.0
        self.count = 0.0

    def take(self, group: Group) -> None:
        one = score_group(group, self._settings, self._step)
        self._groups.append(one)
        self._prompt = group.request.tokens
        rows = [*self._kept, *one.rows]
        if rows[:-1]:
            self._learn(rows[:-1], last=False)
        self._kept = rows[-1:]

    def end(self) -> dict[str, float]:
        """Learn from the last row; returns the metrics of the whole step."""
        self.count = sum(one.count for one in self._groups) or 1.0
        rows = [*self._kept, *human_rows(self._groups, self.count)]
        self._learn(rows or [empty_row(self._prompt)], last=True)
        return means(self._groups) | {"seconds_update": self.seconds}

    @property
    def shares(self) -> dict[str, float]:
        """This process' shares of the metrics that are added up over processes."""
        found = {"loss": self._sums["loss"] / self.count, "tokens": self._sums["tokens"]}
        tokens = sum(len(row.sampled) for one in self._groups for row in one.rows) or 1
        return found | {name: self._sums[name] / tokens for name in ("apart", "truncated")}

    def _learn(self, rows: list[RolloutRow], *, last: bool) -> None:
        began = time.monotonic()
        stale, cap = self._settings.rollouts.max_staleness, self._settings.rollouts.importance_ratio_cap
        for numbers, batch in self._learner.split_across_ranks([(row.sample,) for row in rows], last=last):
            logprobs_N = self._learner(batch, self._settings.sampling.temperature)
            sampled_N = torch.cat([torch.from_numpy(rows[number].sampled) for number in numbers]).to(logprobs_N.device)
            losses_N = grpo_losses(logprobs_N, batch.weights_N, sampled_N if stale else None, cap)
            loss = losses_N.sum() * batch.loss_factor
            self._learner.backward(loss)
            ratio_N = importance_ratios(logprobs_N.detach(), sampled_N)
            self._sums["loss"] += loss.item()
            self._sums["tokens"] += batch.loss_factor * batch.tokens
            self._sums["apart"] += batch.loss_factor * ratio_N.log().abs().sum().item()
            self._sums["truncated"] += batch.loss_factor * float((ratio_N > cap).sum())
        self.seconds += time.monotonic() - began


def means(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Means over a step's stories: rewards, the rubric's dimensions, lengths, repetition, shares of stories; and the entropy as nats a sampled token."""
    sums: defaultdict[str, float] = defaultdict(float)
    for one in groups:
        for name, value in one.metrics.items():
            sums[name] += value
    found = {name: sums[name] / sums[f"of_{name}"] for name in sums if f"of_{name}" in sums}
    found |= {name: sums[name] / sums["stories"] for name in ("absent", "cut")}
    rare = [name for name in sums if name == "not_finite" or name.startswith("absent_")]
    found |= {name: sums[name] / sums["stories"] for name in rare}
    found |= {"entropy": sums["surprise"] / max(sums["tokens_drawn"], 1), "tokens_drawn": sums["tokens_drawn"]}
    if sums["compared"]:
        found["deviation"] = sums["deviation"] / sums["compared"]
    if sums["humans"]:
        found |= {name: sums[name] / sums["humans"] for name in ("human_advantage", "human_clamped")}
    return found


def held_out(rollouts: Rollouts, learner: Learner) -> Callable[[], dict[str, float]]:
    """A function that measures the rewards of stories to requests that the model does not learn from."""

    def evaluate() -> dict[str, float]:
        return {f"held_out_{name}": value for name, value in means(list(_measured(rollouts, learner))).items()}

    return evaluate


def _measured(rollouts: Rollouts, learner: Learner) -> Iterator[ScoredGroup]:
    for group in rollouts.measure(learner):
        yield score_group(group, rollouts.settings, 0)


def fingerprint(requests: Sequence[Request]) -> str:
    """A hash of the requests and the human stories."""
    sha = hashlib.sha256()
    for one in requests:
        sha.update(repr((one.tokens, one.target)).encode())
        sha.update(one.human.tokens.tobytes() if one.human else b"-")
    return sha.hexdigest()
