"""Minimal violations (Weaver 3.4): the smallest change by which a good text breaks a principle that it follows.

    good text -> the principles that it follows best   (asked of the teacher)
              -> one of them: the one with the fewest violations so far
              -> edits that make the text break it     (asked, with the principle's explanation and examples)
              -> checks                                (`checks.py`; the last is a second judgement that does not know which text is which)
              -> a pair, or a rejected row with the reason

A round asks about each text that has no violation yet. So a principle whose violations were rejected is tried again with other texts,
and rare principles come before common ones. What a round asks depends only on the answers so far, not on their order.

Weaver rewrites whole texts and describes no checks; the edits, the checks and the rounds are this project's own.
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
from training.constitution.checks import Reason, check_language, check_no_copy, check_size, ngrams
from training.constitution.edits import InvalidEdit, apply_edits, changed_share
from training.constitution.principles import VersionedPrinciple, read_principles
from training.constitution.settings import ViolationsSettings
from training.constitution.texts import GoodText, excerpt, is_held_out, read_good
from training.datasets.card import Table, dataset_card
from training.datasets.rejected import Rejected
from training.datasets.stage import Stage, run_until_stopped, stage
from training.teacher.client import Absent, Teacher


@dataclass(frozen=True)
class Violation:
    """A violation that passed all checks but the one for copies."""

    text: str
    because: str
    added: str


@dataclass
class Item:
    """A text, the principles that it follows, best first, those that were tried, and the violation."""

    good: GoodText
    follows: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    violation: Violation | None = None

    @property
    def untried(self) -> list[str]:
        return [] if self.violation else [key for key in self.follows if key not in self.tried]


@dataclass
class Tally:
    """What was asked and made, by principle, and the rejected rows."""

    asked: Counter[str] = field(default_factory=Counter)
    made: Counter[str] = field(default_factory=Counter)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    ngrams: set[tuple[str, ...]] = field(default_factory=set)
    """The n-grams of all inserted words so far, none of which a further violation may have."""

    def reject(self, good: GoodText, key: str, rejected: Rejected) -> None:
        self.rejected.append({"id": good.id, "principle": key, "reason": rejected.reason, "why": rejected.why})


def violations(settings: ViolationsSettings) -> Path:
    """Run the stage. Returns the folder of the data set; raises MendableError if there is nothing to ask about."""
    principles = {one.key: one for one in read_principles(settings.constitution)}
    goods = [
        excerpt(one, words=settings.passage_words, max_before=settings.max_before) for one in read_good(settings.data)
    ]
    if not goods:
        raise MendableError("The data contain no good text.")
    with stage(settings, settings.run_dir) as at:
        at.log.log(f"{len(goods):,} good texts, {len(principles):,} principles.")
        return run_until_stopped(lambda: _violations(settings, goods[: settings.max_texts], principles, at))


async def _violations(
    settings: ViolationsSettings, goods: Sequence[GoodText], principles: Mapping[str, VersionedPrinciple], at: Stage
) -> Path:
    tally = Tally()
    async with Teacher(settings.teacher, at.calls, say=at.log.log) as teacher:
        maker = ViolationMaker(settings, teacher, principles)
        items = [Item(good) for good in goods]
        fits = await at.each(list(enumerate(items)), lambda one: maker.fit(*one), teacher)
        for item, fit in zip(items, fits):
            if isinstance(fit, Rejected):
                tally.reject(item.good, "", fit)
            else:
                item.follows = fit
        for number in range(1, settings.rounds + 1):
            chosen = _assign(items, tally.made)
            if not chosen:
                break
            results = await at.each(chosen, lambda one: maker.violation(*one), teacher)
            _keep(chosen, results, tally)
            at.log.log(f"Round {number}: {len(chosen):,} asked for, {sum(tally.made.values()):,} violations so far.")
        cost = teacher.metrics()
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "held_out": []}
    for item in items:
        if item.violation:
            part = "held_out" if is_held_out(item.good, settings.held_out_share) else "train"
            parts[part].append(_row(item, item.violation, principles))
    report = _report(goods, principles, tally, cost, parts)
    return at.write(parts | {"rejected": tally.rejected}, report, _card(report))


def _assign(items: Sequence[Item], made: Counter[str]) -> list[tuple[Item, str]]:
    """For each text with an untried principle, the one with the fewest violations made so far or asked for in this round."""
    counts = Counter(made)
    chosen = []
    for item in items:
        if untried := item.untried:
            key = min(untried, key=lambda one: (counts[one], untried.index(one)))
            counts[key] += 1
            chosen.append((item, key))
    return chosen


def _keep(chosen: Sequence[tuple[Item, str]], results: Sequence[Violation | Rejected], tally: Tally) -> None:
    """Keep the violations that are no copy of another one, in the order of the texts."""
    for (item, key), one in zip(chosen, results):
        item.tried.append(key)
        tally.asked[key] += 1
        if isinstance(one, Violation) and tally.ngrams & (added := ngrams(one.added)):
            one = Rejected(Reason.COPY, "its words are those of another violation")
        if isinstance(one, Rejected):
            tally.reject(item.good, key, one)
        else:
            item.violation = one
            tally.made[key] += 1
            tally.ngrams |= added


def _row(item: Item, violation: Violation, principles: Mapping[str, VersionedPrinciple]) -> dict[str, Any]:
    """A row that `training.datasets.jsonl.Preference` reads, with further facts."""
    key = item.tried[-1]
    return {
        "id": item.good.id,
        "start": item.good.start,
        "prompt": [message.model_dump() for message in item.good.prompt],
        "chosen": [{"role": "assistant", "content": item.good.text}],
        "rejected": [{"role": "assistant", "content": violation.text}],
        "label": 1.0,
        "source": "violations",
        "principles": [[key, principles[key].version]],
        "because": violation.because,
        "changed": round(changed_share(item.good.text, violation.text), 4),
    }


def _report(
    goods: Sequence[GoodText],
    principles: Mapping[str, VersionedPrinciple],
    tally: Tally,
    cost: Mapping[str, float],
    parts: Mapping[str, Sequence[Any]],
) -> dict[str, Any]:
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for one in tally.rejected:
        reasons[one["principle"]][one["reason"]] += 1
    return {
        "texts": len(goods),
        "rows": {name: len(rows) for name, rows in parts.items()},
        "rejected": dict(sum(reasons.values(), Counter())),
        "principles": [
            {"key": key, "name": one.name, "version": one.version, "asked": tally.asked[key], "made": tally.made[key], "rejected": dict(reasons[key])}
            for key, one in principles.items()
        ],
        "cost": dict(cost),
    }  # fmt: skip


def _card(report: Mapping[str, Any]) -> str:
    by_number = sorted(report["principles"], key=lambda one: (-one["made"], one["key"]))
    return dataset_card(
        "Minimal violations",
        "Each row is a good text (`chosen`) and the same text with the smallest change by which it breaks one principle (`rejected`), made by a "
        "teacher model and checked. `because` says how it breaks the principle, `changed` is the share of its words that differ.",
        report,
        Table("Principles", ("principle", "version", "asked", "made"),
              [(one["name"], one["version"], one["asked"], one["made"]) for one in by_number if one["asked"]]),
        Table("Rejected", ("rows", "reason"), sorted(((number, reason) for reason, number in report["rejected"].items()), reverse=True)),
    )  # fmt: skip


class ViolationMaker:
    """Asks the questions about one text; each method returns a value or Rejected."""

    def __init__(
        self, settings: ViolationsSettings, teacher: Teacher, principles: Mapping[str, VersionedPrinciple]
    ) -> None:
        self.settings, self.teacher, self.principles = settings, teacher, principles

    def _for(self, good: GoodText) -> list[str]:
        return [key for key, one in self.principles.items() if good.task in one.tasks and good.domain in one.domains]

    async def fit(self, number: int, item: Item) -> list[str] | Rejected:
        """The principles that the text follows, best first. Each text is asked about some of them, so that all are asked about equally often."""
        keys = self._for(item.good)
        if not keys:
            return Rejected(Reason.NO_PRINCIPLE, f"no principle is for {item.good.task} in {item.good.domain}")
        count = min(self.settings.principles_per_question, len(keys))
        first = number * self.settings.principles_per_question % len(keys)
        shown = [*keys, *keys][first : first + count]
        asked = questions.fit(item.good.text, [self.principles[key] for key in shown])
        try:
            answer = await self.teacher.ask(Question(asked, questions.fit_of(count), 1000, self.settings.seed))
        except Absent as absent:
            return Rejected(Reason.NO_ANSWER, str(absent))
        found = dict.fromkeys(shown[one.principle - 1] for one in answer.follows)
        return list(found) or Rejected(Reason.NO_PRINCIPLE, "it does not clearly follow any of the principles")

    async def violation(self, item: Item, key: str) -> Violation | Rejected:
        try:
            return await self._violation(item.good, key)
        except Absent as absent:
            return Rejected(Reason.NO_ANSWER, str(absent))
        except Rejected as rejected:
            return rejected

    async def _violation(self, good: GoodText, key: str) -> Violation:
        settings, principle = self.settings, self.principles[key]
        asked = questions.violation(good.text, principle)
        question = Question(asked, questions.Violation, settings.max_answer_tokens, settings.seed)
        answer = await self.teacher.ask(question)
        try:
            bad = apply_edits(good.text, answer.edits)
        except InvalidEdit as error:
            raise Rejected(Reason.INVALID_EDIT, str(error)) from None
        added = "\n".join(edit.replace for edit in answer.edits)
        check_size(
            good.text, bad, max_changed_share=settings.max_changed_share, max_length_ratio=settings.max_length_ratio
        )
        check_language(good.text, added)
        check_no_copy(added, principle)
        await self._check_judged(good, bad, key)
        return Violation(bad, answer.because, added)

    async def _check_judged(self, good: GoodText, bad: str, key: str) -> None:
        """Ask a second judge that does not know which text is which. Raises Rejected."""
        rng = random.Random(f"{self.settings.seed}/{good.id}/{key}")
        others = [one for one in self._for(good) if one != key]
        others = rng.sample(others, min(len(others), self.settings.principles_per_question - 1))
        bad_first = rng.random() < 0.5
        texts = (bad, good.text) if bad_first else (good.text, bad)
        asked = questions.decision(*texts, self.principles[key], [self.principles[one] for one in others])
        question = Question(asked, questions.Decision, 600, self.settings.seed, temperature=0.0)
        judged = await self.teacher.ask(question)
        bad_breaks, good_breaks = (
            (judged.a_breaks, judged.b_breaks) if bad_first else (judged.b_breaks, judged.a_breaks)
        )
        other_breaks = judged.only_a if bad_first else judged.only_b
        if not bad_breaks:
            raise Rejected(Reason.NOT_BROKEN, "the second judge does not find the principle broken")
        if good_breaks:
            raise Rejected(Reason.BROKEN_BEFORE, "the second judge finds the principle broken in the good text, too")
        if named := [self.principles[others[one - 1]].name for one in other_breaks if 1 <= one <= len(others)]:
            raise Rejected(Reason.BROKE_ANOTHER, f"the second judge finds another principle broken: {named[0]}")
