"""The rollouts of a run: the server, the judges, the weights on their way, and the groups of each step, for one process or several.

Only the first process writes and judges; the others get each group from it. A step's weights are at the server before its first story is asked for, after
a resume too. With `replay` nothing is written or judged: the groups come from another run's dumps.

    on the policy           next(k): weights k to the server, stories k begin         groups(k): learn while they come
    a step behind           next(k): stories k are written; weights k to the server, stories k + 1 begin         groups(k): learn meanwhile
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.common.errors import MendableError
from training.common.records import Sample
from training.constitution.principles import read_principles
from training.datasets.encoding import ChatEncoder
from training.datasets.requests import Task, read_tasks
from training.learner import processes
from training.learner.engine import Learner
from training.learner.export import adapter_weights
from training.learner.models import check_folder, load_tokenizer, max_text_tokens
from training.learner.run import Run
from training.rewards.embedding import SentenceVectors
from training.rewards.preference import Preference
from training.rewards.scoring import Scoring
from training.rewards.settings import JUDGED, RewardSettings
from training.rollouts.gather import HUMAN, Gatherer, Group, Wanted
from training.rollouts.guards import Guards
from training.rollouts.policy import Policy, Server
from training.rollouts.records import Dump, Logprobs, Tokens
from training.rollouts.rows import row
from training.rollouts.server import GivenServer, OwnServer
from training.rollouts.settings import GroupSettings
from training.rollouts.sync import Adapter, SharedMemory, Sync, fixed_text
from training.rollouts.watch import Watch
from training.teacher.client import Teacher


@contextmanager
def open_rollouts(run: Run, settings: GroupSettings) -> Iterator[Rollouts]:
    with run.log.phase("data"):
        encoder = ChatEncoder(load_tokenizer(settings.model), settings.model)
        context = max_text_tokens(settings.model, settings.context, run.log.log)
        tasks, held_out = (
            read_tasks(paths, encoder, thinking=settings.thinking, room=context)
            for paths in (settings.data, settings.held_out)
        )
        humans = sum(task.human is not None for task in tasks)
        run.log.log(f"{len(tasks):,} requests, {humans:,} of them with a human story; {len(held_out):,} held out.")
        if settings.human and not humans:
            run.log.log("No request has a human story: the groups are the policy's alone.")
    with ExitStack() as stack:
        rollouts = Rollouts(run, settings, encoder, tasks, held_out)
        if run.first and not settings.replay:
            with run.log.phase("rollout server"):
                rollouts.open(stack, context)
        yield rollouts


class Rollouts:
    def __init__(
        self, run: Run, settings: GroupSettings, encoder: ChatEncoder, tasks: list[Task], held_out: list[Task]
    ) -> None:
        self.run, self.settings, self.encoder, self.tasks, self.held_out = run, settings, encoder, tasks, held_out
        self.guards = Guards(settings.guards, run.log.log)
        self.told: dict[str, float] = {}
        """Of the newest step: seconds, and how far the server was from the learner."""
        self._gatherer: Gatherer | None = None
        self._policy: Policy | None = None
        self._fixed = fixed_text(encoder.vocabulary or len(encoder.tokenizer), min(256, settings.context - 1))
        self._wanted: dict[int, list[Wanted]] = {}
        self._at = -1
        self._seen: list[Group] = []
        self._looking: Future[dict[str, float]] | None = None

    def open(self, stack: ExitStack, context: int) -> None:
        settings = self.settings
        folder = settings.run_dir / "rollouts"
        folder.mkdir(parents=True, exist_ok=True)
        sync = _sync(settings)
        stack.callback(sync.close)
        server = _server(settings, context)
        stack.callback(server.stop)
        server.begin()
        self._policy = Policy(
            server, sync, seconds=settings.rollouts.seconds, agreement=settings.rollouts.agreement,
            revivals=settings.rollouts.revivals, say=self.run.log.log,
        )  # fmt: skip
        sampling = settings.sampling.model_dump(exclude={"most_tokens"})
        scoring, second = scoring_of(settings, self.encoder), second_of(settings)
        self._watch = Watch(settings, scoring, second, folder / "looks.jsonl")
        self._gatherer = stack.enter_context(
            Gatherer(
                self._policy, scoring, folder, self._decode, sampling, context=context, most_tokens=settings.sampling.most_tokens,
                seed=settings.seed,
            )
        )  # fmt: skip
        for teacher in (*scoring.teachers, *(second.teachers if second else ())):
            self._gatherer.enter(teacher)

    def next(self, learner: Learner, step: int, wanted: Sequence[Sequence[Wanted]]) -> None:
        """`wanted` are the groups of `step` and, a step behind and unless it is the last, of the one after it."""
        self._wanted = {step: list(wanted[0])}
        self.told = {"seconds_sync": 0.0}
        if self._at < step or not self.settings.rollouts.behind:
            self._hand_over(learner, step)
            self._begin(step, wanted[0])
        if self.settings.rollouts.behind:
            self._written(step)
            self._hand_over(learner, step)
            for later in wanted[1:]:
                self._begin(step + 1, later)

    def groups(self, step: int) -> Iterator[Group]:
        """In the order in which they complete; the same for all processes."""
        waited = 0.0
        source = self._replayed(step) if self.settings.replay else self._gatherer and self._gatherer.groups(_name(step))
        self._seen = []
        for _ in self._wanted[step]:
            began = time.monotonic()
            group: Group = processes.broadcast(next(source) if source else None)
            waited += time.monotonic() - began
            self._seen.append(group)
            yield group
        if source:
            next(source, None)  # which closes the dump
        if self._gatherer and not self.settings.rollouts.behind:
            self.told["seconds_writing"] = self._gatherer.seconds(_name(step))
        self.told["seconds_waiting"] = waited

    def watched(self, learner: Learner, step: int, first: Sequence[Wanted], *, last: bool) -> dict[str, float]:
        """What no reward sees, every so many steps; `first` are the groups of the first one.

        What judges say is told with the step after, so that nobody waits for them, but after the last.
        """
        due = step % self.settings.guards.every == 0 or last
        told = self._divergence(learner, first) if due else {}
        if self._gatherer:
            looks = [self._looking]
            self._looking = None
            if due:
                seen = sorted(self._seen, key=lambda group: group.number)
                looks.append(self._gatherer.start(self._watch.look(step, seen)))
                if not last:
                    self._looking = looks.pop()
            for look in looks:
                told |= look.result() if look else {}
        answer: dict[str, float] = processes.broadcast(told)
        return answer

    def _divergence(self, learner: Learner, first: Sequence[Wanted]) -> dict[str, float]:
        """Nats a token from the model that the run began with: log p then - log p now, on average over stories that it wrote then.

        The first step learned from them, so it is less than the divergence itself, and in a short run may be below 0.
        """
        examples = processes.broadcast(self._written_first(first) if self.run.first else None)
        sums = {"apart": 0.0, "tokens": 0.0}
        for numbers, _, logprobs_N in learner.infer([(sample,) for sample, _ in examples]) if examples else ():
            apart_N = np.concatenate([examples[number][1] for number in numbers]) - logprobs_N.float().cpu().numpy()
            sums["apart"] += float(np.nansum(apart_N, dtype=np.float64))
            sums["tokens"] += float(np.isfinite(apart_N).sum())
        found = processes.sum_across_ranks(sums)
        return {"divergence": found["apart"] / found["tokens"]} if found["tokens"] else {}

    def _written_first(self, first: Sequence[Wanted]) -> list[tuple[Sample, Logprobs]]:
        dump = self._dump(0)
        stories = sorted(dump.stories.items())[: self.settings.guards.stories] if dump else []
        return [
            (row(first[number].task, story.tokens, 1.0), story.logprobs)
            for (number, _), story in stories
            if number < len(first)
        ]

    def _dump(self, step: int) -> Dump | None:
        """Of a step that is over."""
        path = (self.settings.replay or self.settings.run_dir / "rollouts") / f"{_name(step)}.jsonl"
        if not path.is_file():
            return None
        dump = Dump(path)
        dump.close()
        return dump

    def measure(self, learner: Learner) -> Iterator[Group]:
        """One story for each request that is held out, by the learner as it is now."""
        if self.settings.replay:
            return
        step = self.run.done
        if self.settings.rollouts.behind and self._at > step - 1:
            self._written(step)
        self._hand_over(learner, step)
        name = f"held-out-{step:05}"
        if self._gatherer:
            self._gatherer.begin(name, [Wanted(task, 1, human=False) for task in self.held_out])
        source = self._gatherer and self._gatherer.groups(name)
        for _ in self.held_out:
            yield processes.broadcast(next(source) if source else None)
        if source:
            next(source, None)

    def _begin(self, step: int, wanted: Sequence[Wanted]) -> None:
        self._at = step
        if self._gatherer:
            self._gatherer.begin(_name(step), wanted)

    def _written(self, step: int) -> None:
        if self._gatherer:
            self.told["seconds_writing"] = self._gatherer.written(_name(step))

    def _hand_over(self, learner: Learner, version: int) -> None:
        """The learner's weights to the server, unless it has them. All processes take part: each may hold a share of them."""
        if self.settings.replay:
            return
        if processes.broadcast(self._policy and self._policy.version) == version:
            return
        began = time.monotonic()
        expected = read(learner, self._fixed)
        weights = learner.engine.weights()
        if self._policy and self._gatherer:
            self._policy.put(_sent(weights, self.settings), self._fixed, expected, version)
            self._gatherer.load()
            self.told["server_apart"] = self._policy.apart
        self.told["seconds_sync"] = self.told.get("seconds_sync", 0.0) + time.monotonic() - began

    def _replayed(self, step: int) -> Iterator[Group]:
        dump = self._dump(step)
        if dump is None:
            raise MendableError(
                f"There is nothing to replay of step {step + 1}: {self.settings.replay} has no {_name(step)}.jsonl."
            )
        try:
            for number, (task, stories, human) in enumerate(self._wanted[step]):
                places = [(number, story) for story in range(stories)]
                yield Group(
                    number, task, [dump.stories[place] for place in places], [dump.verdicts[place] for place in places],
                    dump.verdicts[number, HUMAN] if human else None,
                )  # fmt: skip
        except KeyError as error:
            raise MendableError(
                f"{dump.path} lacks story {error}: it is of a run with other settings, or was never finished."
            ) from None

    def _decode(self, tokens: Sequence[int]) -> str:
        """The text of an answer, without the token that ends it; tags of thinking are text, whatever the tokenizer takes them for."""
        kept = [token for token in tokens if token != self.encoder.end]
        return str(self.encoder.tokenizer.decode(kept, skip_special_tokens=False))


def _name(step: int) -> str:
    return f"step-{step:05}"


def read(learner: Learner, text: Tokens) -> Logprobs:
    """The learner's log-probabilities of all tokens but the first. All processes read it."""
    sample = Sample(text, np.ones(len(text), dtype=np.float32))
    (found,) = [answer for _, _, answer in learner.infer([(sample,)])] or [torch.empty(0)]
    gathered = [one for one in processes.all_gather(found.float().cpu().numpy()) if len(one)]
    answer: Logprobs = gathered[0]
    return answer


def _sent(weights: dict[str, torch.Tensor], settings: GroupSettings) -> dict[str, torch.Tensor]:
    """Under the names that the server knows them by."""
    bare = {name.removeprefix("model."): one for name, one in weights.items()}
    return adapter_weights(bare) if settings.learner.lora else bare


def _server(settings: GroupSettings, context: int) -> Server:
    given = settings.rollouts
    if given.url:
        return GivenServer(given.url, given.key_variable)
    return OwnServer(settings, context)


def _sync(settings: GroupSettings) -> Sync:
    if settings.learner.lora:
        return Adapter(settings.learner.lora, settings.model)
    if settings.rollouts.sync == "nccl":
        from training.rollouts.nccl import Nccl

        return Nccl(settings.rollouts.tensor_parallel)
    return SharedMemory()


def scoring_of(settings: GroupSettings, encoder: ChatEncoder) -> Scoring:
    given = settings.rewards
    named = given.weights.keys()
    judge = Teacher(given.judge, settings.run_dir / "judge.jsonl") if given.judge and named & JUDGED else None
    ranges = Teacher(given.ranges, settings.run_dir / "ranges.jsonl") if given.ranges and "range" in named else None
    return Scoring(
        given, judge=judge, ranges=ranges,
        principles=read_principles(given.constitution) if given.constitution and "principles" in named else (),
        prefer=Preference(given.preference, processes.device(), settings.learner.precision) if given.preference and "preference" in named else None,
        embed=_embed(settings.model, encoder) if "paraphrase" in named else None,
    )  # fmt: skip


def second_of(settings: GroupSettings) -> Scoring | None:
    """The judge that no reward comes from."""
    given = settings.guards.judge
    if given is None:
        return None
    teacher = Teacher(given, settings.run_dir / "second-judge.jsonl")
    return Scoring(RewardSettings(weights={"quality": 1.0}, judge=given), judge=teacher)


def _embed(model: Path, encoder: ChatEncoder) -> SentenceVectors:
    """By the embeddings of the model that the run began with."""
    check_folder(model)
    return SentenceVectors(_embeddings(model), lambda text: encoder.tokenizer.encode(text, add_special_tokens=False))


def _embeddings(model: Path) -> Any:
    from safetensors import safe_open

    for path in sorted(model.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                if name.endswith("embed_tokens.weight"):
                    return file.get_tensor(name).float().numpy()
    raise MendableError(
        f"The model in {model} has no token embeddings by the name of embed_tokens: leave the reward 'paraphrase' out."
    )
