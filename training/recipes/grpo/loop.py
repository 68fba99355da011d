"""Group relative policy optimisation: the model writes stories, judges score them, and it learns from what is better within each group.

Where it departs from the papers, by default:

- Sampled is the plain softmax, which is also what is scored; POLARIS draws with top-p, top-k and a repetition penalty (`files/papers/polaris.toml`).
- Means go over the tokens of the whole step; POLARIS' code takes them within two stories (`mean_within`).
- A human story's loss has a count of its own, its advantage a cap, and below 0 it counts nothing, which is counted.
- A failed judge leaves its story out; in POLARIS it gets the mean of the batch.
- One update for each batch, as in both papers, so no log-probabilities of an older policy and no clipping (`training.objectives.grpo`).

Learning begins while stories are still being written: gradients of whole groups add up as the groups complete, and are divided by the step's count at
its end. With `rollouts.behind` 1 the next step's stories are written meanwhile.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from training.common.records import Sample
from training.datasets.requests import Task
from training.learner.engine import Learner
from training.learner.finish import finish
from training.learner.run import Run, batches_of, steps_of
from training.objectives.grpo import grpo_losses, importance_ratios
from training.recipes.grpo import GrpoSettings
from training.rollouts.gather import Group, Wanted
from training.rollouts.rows import Learned, Row, human_rows, learned
from training.rollouts.run import Rollouts, open_rollouts


def grpo(settings: GrpoSettings) -> Path | None:
    """Train, or go on training; the folder of the model, or None if the run was asked to stop before its last step."""
    with Run(settings) as run, open_rollouts(run, settings) as rollouts:
        take, per_epoch = batches_of(len(rollouts.tasks), settings.batch, settings)
        learner = run.load_learner()
        total = steps_of(settings, per_epoch)
        evaluate = held_out(rollouts, learner) if rollouts.held_out else None
        first = of(rollouts.tasks, take(0), settings, 0)
        for step in run.steps(learner, total, fingerprint(rollouts.tasks), evaluate):
            ahead = range(step, min(step + 1 + settings.rollouts.behind, total))
            wanted = [of(rollouts.tasks, take(one), settings, one) for one in ahead]
            rollouts.next(learner, step, wanted)
            one = Step(learner, settings, step)
            for group in rollouts.groups(step):
                one.take(group)
            told = one.end() | rollouts.watched(learner, step, first, last=step == total - 1)
            rollouts.guards.look(step, told)
            run.did(step, one.shares, divide=one.count, also=told | rollouts.told)
        return finish(run, learner)


def of(tasks: Sequence[Task], numbers: Sequence[int], settings: GrpoSettings, step: int) -> list[Wanted]:
    """The groups of a step. While human stories have no weight yet, their places are the policy's, as in POLARIS."""
    human = settings.human
    read = [bool(human and tasks[number].human and human.weight_at(step)) for number in numbers]
    return [Wanted(tasks[number], settings.group - one, one) for number, one in zip(numbers, read, strict=True)]


class Step:
    """The gradients of one step, as its groups come."""

    def __init__(self, learner: Learner, settings: GrpoSettings, step: int) -> None:
        self._learner, self._settings, self._step = learner, settings, step
        self._groups: list[Learned] = []
        self._kept: list[Row] = []  # one row waits, since the engine has to be told of the last
        self._sums: defaultdict[str, float] = defaultdict(float)
        self.seconds = 0.0
        self.count = 0.0

    def take(self, group: Group) -> None:
        one = learned(group, self._settings, self._step)
        self._groups.append(one)
        self._story = group.task.tokens
        rows = [*self._kept, *one.rows]
        if rows[:-1]:
            self._learn(rows[:-1], last=False)
        self._kept = rows[-1:]

    def end(self) -> dict[str, float]:
        """What is to be told of the whole step."""
        self.count = sum(one.count for one in self._groups) or 1.0
        rows = [*self._kept, *human_rows(self._groups, self.count)]
        self._learn(rows or [nothing(self._story)], last=True)
        return means(self._groups) | {"seconds_update": self.seconds}

    @property
    def shares(self) -> dict[str, float]:
        """This process' shares."""
        told = {"loss": self._sums["loss"] / self.count, "tokens": self._sums["tokens"]}
        learned_tokens = sum(len(row.drawn) for one in self._groups for row in one.rows) or 1
        for name in ("apart", "truncated"):
            told[name] = self._sums[name] / learned_tokens
        return told

    def _learn(self, rows: list[Row], *, last: bool) -> None:
        began = time.monotonic()
        behind, most = self._settings.rollouts.behind, self._settings.rollouts.truncate
        for numbers, batch in self._learner.split_across_ranks([(row.sample,) for row in rows], last=last):
            logprobs_N = self._learner(batch)
            drawn_N = torch.cat([torch.from_numpy(rows[number].drawn) for number in numbers]).to(logprobs_N.device)
            losses_N = grpo_losses(logprobs_N, batch.weights_N, drawn_N if behind else None, most)
            loss = losses_N.sum() * batch.loss_factor
            self._learner.backward(loss)
            ratio_N = importance_ratios(logprobs_N.detach(), drawn_N)
            self._sums["loss"] += loss.item()
            self._sums["tokens"] += batch.loss_factor * batch.tokens
            self._sums["apart"] += batch.loss_factor * ratio_N.log().abs().sum().item()
            self._sums["truncated"] += batch.loss_factor * float((ratio_N > most).sum())
        self.seconds += time.monotonic() - began


def nothing(tokens: Sequence[int]) -> Row:
    """A row that nothing is learned from: the engine wants to be told of a step's end, also of one in which all stories were equally good."""
    return Row(
        Sample(np.asarray(tokens, dtype=np.int32), np.zeros(len(tokens), dtype=np.float32)),
        np.empty(0, dtype=np.float32),
    )


def means(groups: Sequence[Learned]) -> dict[str, float]:
    """Of a step's stories: each reward, the rubric's dimensions, lengths, repetition; shares of stories; and entropy as surprise a token."""
    sums: defaultdict[str, float] = defaultdict(float)
    for one in groups:
        for name, value in one.told.items():
            sums[name] += value
    told = {name: sums[name] / sums[f"of_{name}"] for name in sums if f"of_{name}" in sums}
    told |= {name: sums[name] / sums["stories"] for name in ("absent", "cut")}
    told |= {"entropy": sums["surprise"] / max(sums["tokens_drawn"], 1), "tokens_drawn": sums["tokens_drawn"]}
    if sums["compared"]:
        told["deviation"] = sums["deviation"] / sums["compared"]
    if sums["humans"]:
        told |= {
            "human_advantage": sums["human_advantage"] / sums["humans"],
            "human_clamped": sums["human_clamped"] / sums["humans"],
        }
    return told


def held_out(rollouts: Rollouts, learner: Learner) -> Callable[[], dict[str, float]]:
    """A function that measures the rewards of stories on requests that nothing is learned from."""

    def evaluate() -> dict[str, float]:
        return {f"held_out_{name}": value for name, value in means(list(_measured(rollouts, learner))).items()}

    return evaluate


def _measured(rollouts: Rollouts, learner: Learner) -> Iterator[Learned]:
    for group in rollouts.measure(learner):
        yield learned(group, rollouts.settings, 0)


def fingerprint(tasks: Sequence[Task]) -> str:
    """Of the requests and the human stories."""
    sha = hashlib.sha256()
    for task in tasks:
        sha.update(repr((task.tokens, task.target)).encode())
        sha.update(task.human.tokens.tobytes() if task.human else b"-")
    return sha.hexdigest()
