"""The rollouts of a run: the server, the rewards, the transfer of weights, and the groups of each step, for one process or several.

Only the first process writes and scores; the others get each group from it. The server has a step's weights before the step's first story is requested,
after a resume too. With `replay` no story is written or scored: the groups come from another run's dumps.

    max_staleness 0     next(k): weights k to the server, stories k begin                                       groups(k): learn while they arrive
    max_staleness 1     next(k): stories k are written; weights k to the server, stories k + 1 begin            groups(k): learn meanwhile
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from training.common.records import Sample
from training.datasets.encoding import ChatEncoder
from training.datasets.requests import Request, read_requests
from training.learner import processes
from training.learner.engine import Learner
from training.learner.models import max_text_tokens
from training.learner.probe import fixed_text, learner_logprobs
from training.learner.run import Run
from training.rewards.scoring import Scoring
from training.rollouts.agreement import AgreementText, saved_text
from training.rollouts.gather import Gatherer, Group, GroupRequest
from training.rollouts.guards import Guards
from training.rollouts.judging import make_scoring, make_second_judge
from training.rollouts.logprobs import divergence
from training.rollouts.monitors import Monitors
from training.rollouts.policy import Policy
from training.rollouts.records import Logprobs, read_dump, step_name
from training.rollouts.replay import replayed_groups
from training.rollouts.rows import policy_sample
from training.rollouts.server import make_servers
from training.rollouts.settings import GroupSettings
from training.rollouts.spread import Spread, Stored
from training.rollouts.sync import Sync, Weights, make_sync, server_weights


@contextmanager
def open_rollouts(run: Run, settings: GroupSettings) -> Iterator[Rollouts]:
    """Read the requests and start what writes and scores stories."""
    settings = settings.model_copy(update={"learner": run.settings.learner})  # with the run's precision
    with run.log.phase("data"):
        encoder = ChatEncoder(run.load_tokenizer(), settings.model)
        context = max_text_tokens(settings.model, settings.context, run.log.log)
        requests, held_out = (
            read_requests(
                paths,
                encoder,
                thinking=settings.thinking,
                room=context,
                needs_target="" if settings.replay else settings.rewards.needs_target,
            )
            for paths in (settings.data, settings.held_out)
        )
        for note in encoder.notes:
            run.log.log(note)
        humans = sum(one.human is not None for one in requests)
        run.log.log(f"{len(requests):,} requests, {humans:,} of them with a human story; {len(held_out):,} held out.")
        if not settings.replay:
            run.log.log(f"Stories are sampled at {settings.sampling}.")
        if settings.human and not humans:
            run.log.log("No request has a human story, so the groups have stories of the policy only.")
    with ExitStack() as stack:
        rollouts = Rollouts(run, settings, encoder, requests, held_out)
        if run.first and not settings.replay:
            with run.log.phase("rollout server"):
                rollouts.open(stack, context)
        processes.barrier()  # a server that measures the GPU's free memory would count what a learner takes meanwhile
        yield rollouts


class Rollouts:
    def __init__(
        self, run: Run, settings: GroupSettings, encoder: ChatEncoder, requests: list[Request], held_out: list[Request]
    ) -> None:
        self.run, self.settings, self.encoder = run, settings, encoder
        self.requests, self.held_out = requests, held_out
        self.guards = Guards(settings.guards, run.log.log)
        self.metrics: dict[str, float] = {}
        """Of the newest step: seconds, and the difference of log-probabilities between server and learner."""
        self._gatherer: Gatherer | None = None
        self._policy: Policy | Spread | None = None
        self._text: AgreementText | None = None
        self._scoring: Scoring | None = None
        self._requested: dict[int, list[GroupRequest]] = {}
        self._begun = -1
        self._groups: list[Group] = []
        self._checking: Future[dict[str, float]] | None = None

    def open(self, stack: ExitStack, context: int) -> None:
        settings = self.settings
        self._context = context
        self._folder = folder = settings.run_dir / "rollouts"
        folder.mkdir(parents=True, exist_ok=True)
        sync = make_sync(settings)
        stack.callback(sync.close)
        given, policies = settings.rollouts, list[Policy]()
        servers = make_servers(settings, context)
        self._rounded = "bfloat16" in (settings.learner.precision, *(server.dtype for server in servers))
        for server in servers:
            stack.callback(server.stop)
            server.begin()
            transfer: Sync = Stored(sync) if policies else sync
            policies.append(
                Policy(
                    server, transfer, seconds=given.seconds, tolerance=given.logprob_tolerance, restarts=given.restarts, say=self.run.log.log
                )
            )  # fmt: skip
        self._policy = Spread(policies, self.run.log.log) if len(policies) > 1 else policies[0]
        sampling = settings.sampling.model_dump(exclude={"most_tokens"})
        say = self.run.log.log
        scoring, second = make_scoring(settings, self.encoder, self.run.began, say), make_second_judge(settings, say)
        self._scoring = scoring
        self._monitors = Monitors(settings, scoring, second, folder)
        self._gatherer = stack.enter_context(
            Gatherer(
                self._policy, scoring, folder, self.encoder.decode_answer, sampling, context=context, most_tokens=settings.sampling.most_tokens,
                seed=settings.seed,
            )
        )  # fmt: skip
        for teacher in (*scoring.teachers, *(second.teachers if second else ())):
            self._gatherer.enter(teacher)

    def next(self, learner: Learner, step: int, requested: Sequence[Sequence[GroupRequest]]) -> None:
        """Give the server its weights and request stories.

        `requested` are the groups of `step` and, with max_staleness 1 and unless it is the last step, of the one after it.
        """
        self._requested = {step: list(requested[0])}
        self.metrics = {"seconds_sync": 0.0}
        stale = self.settings.rollouts.max_staleness
        if self._begun < step or not stale:
            self._transfer(learner, step)
            self._begin(step, requested[0])
        if stale:
            self._wait_until_written(step)
            self._transfer(learner, step)
            for later in requested[1:]:
                self._begin(step + 1, later)

    def groups(self, step: int) -> Iterator[Group]:
        """The step's groups in the order in which they complete, the same in all processes."""
        waited = 0.0
        source: Iterator[Group] | None = None
        if self.settings.replay:
            source = replayed_groups(self.settings.replay, step, self._requested[step])
        elif self._gatherer:
            source = self._gatherer.groups(step_name(step))
        self._groups = []
        for _ in self._requested[step]:
            began = time.monotonic()
            group: Group = processes.broadcast(next(source) if source else None)
            waited += time.monotonic() - began
            self._groups.append(group)
            yield group
        if source:
            next(source, None)  # which closes the dump
        if self._gatherer and not self.settings.rollouts.max_staleness:
            self.metrics["seconds_writing"] = self._gatherer.seconds(step_name(step))
        self.metrics["seconds_waiting"] = waited

    def check(self, learner: Learner, step: int, first: Sequence[GroupRequest], *, last: bool) -> dict[str, float]:
        """The metrics of the monitors, every `guards.every` steps and at the last; `first` are the groups of the first step.

        Judges take their time, so what they say comes with the next step, except at the last.
        """
        due = step % self.settings.guards.every == 0 or last
        metrics = self._divergence(learner, first) if due else {}
        if self._gatherer:
            checks = [self._checking]
            self._checking = None
            if due:
                groups = sorted(self._groups, key=lambda group: group.number)
                checks.append(self._gatherer.start(self._monitors.check(step, groups)))
                if not last:
                    self._checking = checks.pop()
            for one in checks:
                metrics |= one.result() if one else {}
        answer: dict[str, float] = processes.broadcast(metrics)
        return answer

    def measure(self, learner: Learner) -> Iterator[Group]:
        """One story for each request that is held out, by the learner as it is now."""
        if self.settings.replay:
            return
        step = self.run.done
        if self.settings.rollouts.max_staleness and self._begun > step - 1:
            self._wait_until_written(step)
        self._transfer(learner, step)
        name = f"held-out-{step:05}"
        if self._gatherer:
            self._gatherer.begin(name, [GroupRequest(one, 1, human=False) for one in self.held_out])
        source = self._gatherer and self._gatherer.groups(name)
        for _ in self.held_out:
            yield processes.broadcast(next(source) if source else None)
        if source:
            next(source, None)

    def why_absent(self, metrics: Mapping[str, float]) -> str:
        """A clause that says which rewards the stories of a step miss, and the newest reason of a judge; "" if none is missing."""
        names = [name.removeprefix("absent_") for name in metrics if name.startswith("absent_")]
        if not names:
            return ""
        reason = self._scoring.why_absent if self._scoring else ""
        return f"stories have no {' and no '.join(names)}" + (f" ({reason})" if reason else "")

    def _divergence(self, learner: Learner, first: Sequence[GroupRequest]) -> dict[str, float]:
        """By the stories of the first step. The learner learned from them, so it is lower than on others, and in a short run may be below 0."""
        stories = processes.broadcast(self._first_stories(first) if self.run.first else None)
        found = divergence(learner, stories, self.settings.sampling.temperature)
        return {} if found is None else {"divergence": found}

    def _first_stories(self, first: Sequence[GroupRequest]) -> list[tuple[Sample, Logprobs]]:
        dump = read_dump(self.settings.replay or self.settings.run_dir / "rollouts", 0)
        stories = sorted(dump.stories.items())[: self.settings.guards.stories] if dump else []
        return [
            (policy_sample(first[number].request, story.tokens, 1.0), story.logprobs)
            for (number, _), story in stories
            if number < len(first)
        ]

    def _begin(self, step: int, requested: Sequence[GroupRequest]) -> None:
        self._begun = step
        if self._gatherer:
            self._gatherer.begin(step_name(step), requested)

    def _wait_until_written(self, step: int) -> None:
        if self._gatherer:
            self.metrics["seconds_writing"] = self._gatherer.written(step_name(step))

    def _transfer(self, learner: Learner, version: int) -> None:
        """Give the server the learner's weights, unless it has them. All processes take part: each may hold a part of them."""
        if self.settings.replay:
            return
        if processes.broadcast(self._policy and self._policy.version) == version:
            return
        began = time.monotonic()
        sent = learner.engine.weights(trained=bool(self.settings.learner.lora))
        weights = server_weights(sent, self.settings, learner.model)
        self._text = text = processes.broadcast(self._text or (self._agreement_text(weights) if self._policy else None))
        expected = learner_logprobs(learner, text.array)[-text.compared :]
        if self._policy and self._gatherer:
            self._policy.tolerance = text.allowed(self.settings.rollouts.logprob_tolerance)
            self._policy.put(weights, text.array, expected, version)
            self._gatherer.load()
            self.metrics["server_apart"] = self._policy.logprob_difference
            if text.noise is None:
                self._text = replace(text, noise=self._policy.logprob_difference)
                self._text.save(self._folder)
        self.metrics["seconds_sync"] = self.metrics.get("seconds_sync", 0.0) + time.monotonic() - began

    def _agreement_text(self, weights: Weights) -> AgreementText:
        assert self._policy
        assert self._gatherer
        if not self._rounded:
            text = fixed_text(
                self.encoder.vocabulary or len(self.encoder.tokenizer), min(256, self.settings.context - 1)
            )
            return AgreementText(text.tolist(), len(text) - 1, 0.0)
        if saved := saved_text(self._folder):
            return saved
        self._policy.put(weights, None, None, -1)
        self._gatherer.load()
        prompt = list(self.requests[0].tokens)
        sampling = {"max_tokens": min(256, self._context - len(prompt)), "seed": self.settings.seed, "ignore_eos": True}
        written, _ = self._gatherer.start(self._policy.generate(prompt, sampling)).result()
        return AgreementText([*prompt, *written.tokens.tolist()], len(written.tokens))
