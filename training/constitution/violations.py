"""Minimal violations (Weaver 3.4): of a good text, the smallest change by which it breaks a principle that it follows.

    good text -> which principles it follows best      (asked of the teacher)
              -> one of them: that with the fewest violations so far
              -> edits that make it break this one       (asked, with the principle's explanation and examples)
              -> checks                                 (`checks.py`; the last is a second judgement, blind to which is which)
              -> a pair, or a dropped row with the reason

A round asks each text that has no violation yet, so that principles whose violations were dropped are asked for again, of other texts, and
rare ones before common ones. Rounds make what is asked a function of the answers alone, whatever their order.

Weaver rewrites whole texts and describes no checks; edits, the checks, and the rounds are ours.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.common.errors import MendableError
from training.common.question import Question
from training.constitution import questions
from training.constitution.checks import Drop, little, no_copy, runs_of, same_language
from training.constitution.edits import NotThere, apply, changed_share
from training.constitution.principles import Known, read_principles
from training.constitution.settings import ViolationsSettings
from training.constitution.texts import GoodText, excerpt, is_held_out, read_good
from training.datasets.card import Table, dataset_card
from training.datasets.rejected import Dropped
from training.datasets.stage import Stage, run_until_stopped, stage
from training.teacher.client import Absent, Teacher


@dataclass(frozen=True)
class Made:
    """A violation that passed all checks but that for copies."""

    bad: str
    because: str
    added: str


@dataclass
class Work:
    """A text on its way: the principles that it follows, best first, those that were tried, and what came of it."""

    good: GoodText
    follows: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    made: Made | None = None

    @property
    def left(self) -> list[str]:
        return [] if self.made else [key for key in self.follows if key not in self.tried]


@dataclass
class Told:
    """What the report is made of."""

    asked: Counter[str] = field(default_factory=Counter)
    made: Counter[str] = field(default_factory=Counter)
    dropped: list[dict[str, Any]] = field(default_factory=list)
    runs: set[tuple[str, ...]] = field(default_factory=set)
    """Of words that were put into texts so far: the next must have others."""

    def drop(self, good: GoodText, key: str, dropped: Dropped) -> None:
        self.dropped.append({"id": good.id, "principle": key, "reason": dropped.reason, "why": dropped.why})


def violations(settings: ViolationsSettings) -> Path:
    """Raises MendableError where nothing can be asked; the folder of the data set otherwise."""
    principles = {one.key: one for one in read_principles(settings.constitution)}
    goods = [excerpt(one, words=settings.words, most_before=settings.most_before) for one in read_good(settings.data)]
    if not goods:
        raise MendableError("The data hold no good text.")
    with stage(settings, settings.run_dir) as at:
        at.log.log(f"{len(goods):,} good texts, {len(principles):,} principles.")
        return run_until_stopped(lambda: _violations(settings, goods[: settings.most_texts], principles, at))


async def _violations(
    settings: ViolationsSettings, goods: Sequence[GoodText], principles: Mapping[str, Known], at: Stage
) -> Path:
    told = Told()
    async with Teacher(settings.teacher, at.calls) as teacher:
        asking = Asking(settings, teacher, principles)
        works = [Work(good) for good in goods]
        fits = await at.each(list(enumerate(works)), lambda one: asking.fit(*one), teacher)
        for work, fit in zip(works, fits):
            if isinstance(fit, Dropped):
                told.drop(work.good, "", fit)
            else:
                work.follows = fit
        for number in range(1, settings.rounds + 1):
            chosen = _assigned(works, told.made)
            if not chosen:
                break
            made = await at.each(chosen, lambda one: asking.violation(*one), teacher)
            _sift(chosen, made, told)
            at.log.log(f"Round {number}: {len(chosen):,} asked for, {sum(told.made.values()):,} violations in all.")
        cost = teacher.metrics()
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "held_out": []}
    for work in works:
        if work.made:
            parts["held_out" if is_held_out(work.good, settings.held_out_share) else "train"].append(
                _row(work, principles)
            )
    found = _report(goods, principles, told, cost, parts)
    return at.write(parts | {"dropped": told.dropped}, found, _card(found))


def _assigned(works: Sequence[Work], made: Counter[str]) -> list[tuple[Work, str]]:
    """For each text that still may have one, that of its principles which has the fewest violations, made or asked for."""
    counts = Counter(made)
    chosen = []
    for work in works:
        if left := work.left:
            key = min(left, key=lambda one: (counts[one], left.index(one)))
            counts[key] += 1
            chosen.append((work, key))
    return chosen


def _sift(chosen: Sequence[tuple[Work, str]], made: Sequence[Made | Dropped], told: Told) -> None:
    """Keep what is no copy of another violation, in the order of the texts."""
    for (work, key), one in zip(chosen, made):
        work.tried.append(key)
        told.asked[key] += 1
        if isinstance(one, Made) and told.runs & (runs := runs_of(one.added)):
            one = Dropped(Drop.COPY, "its words are those of another violation")
        if isinstance(one, Dropped):
            told.drop(work.good, key, one)
        else:
            work.made = one
            told.made[key] += 1
            told.runs |= runs


def _row(work: Work, principles: Mapping[str, Known]) -> dict[str, Any]:
    """As `training.datasets.jsonl.Preference` reads it, and what else one may want to know."""
    assert work.made is not None
    key = work.tried[-1]
    return {
        "id": work.good.id,
        "start": work.good.start,
        "prompt": [message.model_dump() for message in work.good.prompt],
        "chosen": [{"role": "assistant", "content": work.good.text}],
        "rejected": [{"role": "assistant", "content": work.made.bad}],
        "label": 1.0,
        "source": "violations",
        "principles": [[key, principles[key].version]],
        "because": work.made.because,
        "changed": round(changed_share(work.good.text, work.made.bad), 4),
    }


def _report(
    goods: Sequence[GoodText],
    principles: Mapping[str, Known],
    told: Told,
    cost: Mapping[str, float],
    parts: Mapping[str, Sequence[Any]],
) -> dict[str, Any]:
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for one in told.dropped:
        reasons[one["principle"]][one["reason"]] += 1
    return {
        "texts": len(goods),
        "rows": {name: len(rows) for name, rows in parts.items()},
        "dropped": dict(sum(reasons.values(), Counter())),
        "principles": [
            {"key": key, "name": one.name, "version": one.version, "asked": told.asked[key], "made": told.made[key], "dropped": dict(reasons[key])}
            for key, one in principles.items()
        ],
        "cost": dict(cost),
    }  # fmt: skip


def _card(found: Mapping[str, Any]) -> str:
    by_number = sorted(found["principles"], key=lambda one: (-one["made"], one["key"]))
    return dataset_card(
        "Minimal violations",
        "Each row is a good text (`chosen`) and the same text with the smallest change by which it breaks one principle (`rejected`), made by a "
        "teacher model and checked: `because` says how it breaks it, `changed` the share of its words that differ.",
        found,
        Table("Principles", ("principle", "version", "asked", "made"),
              [(one["name"], one["version"], one["asked"], one["made"]) for one in by_number if one["asked"]]),
        Table("Dropped", ("rows", "reason"), sorted(((number, reason) for reason, number in found["dropped"].items()), reverse=True)),
    )  # fmt: skip


class Asking:
    """The questions of one text after another; each answers with a value or with Dropped."""

    def __init__(self, settings: ViolationsSettings, teacher: Teacher, principles: Mapping[str, Known]) -> None:
        self.settings, self.teacher, self.principles = settings, teacher, principles

    def _for(self, good: GoodText) -> list[str]:
        return [key for key, one in self.principles.items() if good.task in one.tasks and good.domain in one.domains]

    async def fit(self, number: int, work: Work) -> list[str] | Dropped:
        """The principles that the text follows, best first. Where there are many, each text is shown some, all as often as another."""
        keys = self._for(work.good)
        if not keys:
            return Dropped(Drop.NO_PRINCIPLE, f"no principle is for {work.good.task} in {work.good.domain}")
        first = number * self.settings.shown % len(keys)
        shown = [*keys, *keys][first : first + min(self.settings.shown, len(keys))]
        asked = questions.which_fit(work.good.text, [self.principles[key] for key in shown])
        try:
            answer = await self.teacher.ask(Question(asked, questions.fit_of(len(shown)), 1000, self.settings.seed))
        except Absent as absent:
            return Dropped(Drop.NO_ANSWER, str(absent))
        found = dict.fromkeys(shown[one.principle - 1] for one in answer.follows)
        return list(found) or Dropped(Drop.NO_PRINCIPLE, "it follows none of the principles so that it shows")

    async def violation(self, work: Work, key: str) -> Made | Dropped:
        try:
            return await self._violation(work.good, key)
        except Absent as absent:
            return Dropped(Drop.NO_ANSWER, str(absent))
        except Dropped as dropped:
            return dropped

    async def _violation(self, good: GoodText, key: str) -> Made:
        settings, principle = self.settings, self.principles[key]
        question = Question(
            questions.violate(good.text, principle), questions.Violation, settings.most_answer, settings.seed
        )
        answer = await self.teacher.ask(question)
        try:
            bad = apply(good.text, answer.edits)
        except NotThere as error:
            raise Dropped(Drop.NOT_THERE, str(error)) from None
        added = "\n".join(edit.replace for edit in answer.edits)
        little(good.text, bad, most_changed=settings.most_changed, most_length=settings.most_length)
        same_language(good.text, added)
        no_copy(added, principle)
        await self._judged(good, bad, key)
        return Made(bad, answer.because, added)

    async def _judged(self, good: GoodText, bad: str, key: str) -> None:
        """A second judgement, whose judge does not know which text is which. Raises Dropped."""
        rng = random.Random(f"{self.settings.seed}/{good.id}/{key}")
        others = [one for one in self._for(good) if one != key]
        others = rng.sample(others, min(len(others), self.settings.shown - 1))
        bad_first = rng.random() < 0.5
        texts = (bad, good.text) if bad_first else (good.text, bad)
        asked = questions.judge(*texts, self.principles[key], [self.principles[one] for one in others])
        verdict = await self.teacher.ask(Question(asked, questions.Verdict, 600, self.settings.seed, temperature=0.0))
        of_bad, of_good = (verdict.a_breaks, verdict.b_breaks) if bad_first else (verdict.b_breaks, verdict.a_breaks)
        broken = verdict.only_a if bad_first else verdict.only_b
        if not of_bad:
            raise Dropped(Drop.NOT_BROKEN, "the second judge does not find the principle broken")
        if of_good:
            raise Dropped(Drop.BROKEN_BEFORE, "the second judge finds the principle broken in the good text, too")
        if named := [self.principles[others[one - 1]].name for one in broken if 1 <= one <= len(others)]:
            raise Dropped(Drop.BROKE_ANOTHER, f"the second judge finds another principle broken: {named[0]}")
