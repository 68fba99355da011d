"""Instruction back-translation (Weaver 3.3; POLARIS' prompt-story pairs): for good texts, the requests that they answer.

    good text x task -> request, with notes, a draft or an answer   (asked of the teacher, with worked cases; `tasks.py`)
                     -> checks                                      (`checks.py`)
                     -> for a story: the plan before it             (asked; asked once more where it quotes the story)
                     -> scores of the finished exercise             (asked again, in a question of their own)
    all rows         -> nearly the same instructions: the best stays -> the best of each task and domain stay   (`choice.py`)

A row is a conversation: the request, with what its writer had before, and the answer. A request for a story is closed by the sentence about
its length that the narrator asks with, too. Weaver scores with a weaker model; here the same teacher judges in a second question. Its
prompts are not published: those here are ours, as are the checks. How POLARIS' plans were made is not known either.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.common.errors import MendableError
from training.common.question import Question
from training.common.records import Domain, Task
from training.common.text import count_words, round_words, story_request
from training.constitution.texts import GoodText, excerpt, is_held_out, read_good
from training.datasets.card import Table, dataset_card
from training.datasets.rejected import Dropped
from training.datasets.stage import Stage, run_until_stopped, stage
from training.instruct import questions
from training.instruct.answers import Plan, Score
from training.instruct.checks import Drop, found_well, plans_well
from training.instruct.choice import alike, not_best
from training.instruct.settings import BacktranslateSettings
from training.instruct.tasks import VOICES, WAYS, Way
from training.teacher.client import Absent, Teacher

AGAIN = 2
"""Added to the seed of a plan that is asked for once more: the teacher's client itself uses the two before."""


@dataclass(frozen=True)
class Exercise:
    """A request and its answer, scored."""

    good: GoodText
    task: Task
    instruction: str
    request: str
    """The instruction with all that belongs to it."""
    answer: str
    thinking: str
    score: Score

    @property
    def domain(self) -> Domain:
        return self.good.domain

    @property
    def rank(self) -> tuple[float, float, str]:
        return (-self.score.mean, -self.score.worth, self.good.sha256)


@dataclass(frozen=True)
class Item:
    good: GoodText
    way: Way


def backtranslate(settings: BacktranslateSettings) -> Path:
    """Raises MendableError where nothing can be asked; the folder of the data set otherwise."""
    goods = [one for one in read_good(settings.data) if WAYS[one.task].human][: settings.most_texts]
    if not goods:
        raise MendableError("The data hold no good text: no story, and no conversation that ends with one.")
    with stage(settings, settings.run_dir) as at:
        at.log.log(f"{len(goods):,} good texts, {len(settings.tasks)} tasks.")
        return run_until_stopped(lambda: _backtranslate(settings, goods, at))


async def _backtranslate(settings: BacktranslateSettings, goods: Sequence[GoodText], at: Stage) -> Path:
    items = [Item(good, WAYS[task]) for task in settings.tasks for good in goods]  # what tasks share is asked in a row
    async with Teacher(settings.teacher, at.calls) as teacher:
        asking = Asking(settings, teacher)
        made = await at.each(items, asking.exercise, teacher)
        cost = teacher.metrics()
    made = _chosen(made, settings)
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "held_out": []}
    dropped = []
    for item, one in zip(items, made):
        if isinstance(one, Dropped):
            dropped.append({"id": item.good.id, "task": item.way.task, "reason": one.reason, "why": one.why})
        else:
            part = "held_out" if is_held_out(item.good, settings.held_out_share) else "train"
            parts[part].append(_row(one, settings))
    found = _report(settings, goods, made, items, cost, parts)
    at.log.log(f"{sum(found['rows'].values()):,} rows of {len(items):,} that were asked for.")
    return at.write(parts | {"dropped": dropped}, found, _card(found))


def _chosen(made: Sequence[Exercise | Dropped], settings: BacktranslateSettings) -> list[Exercise | Dropped]:
    """The same list, where what is alike and what is not among the best has become Dropped."""
    found = list(made)
    numbers = [number for number, one in enumerate(found) if isinstance(one, Exercise)]
    rows = [one for one in made if isinstance(one, Exercise)]
    for row, other in alike(rows, settings.most_alike).items():
        why = f"nearly the same instruction as that of {rows[other].good.id}"
        found[numbers[row]] = Dropped(Drop.ALIKE, why)
    numbers = [number for number, one in enumerate(found) if isinstance(one, Exercise)]
    rows = [one for one in found if isinstance(one, Exercise)]
    for row in not_best(rows, settings.keep_share, settings.keep_most):
        why = f"others of its task have better scores than {rows[row].score.mean:g}"
        found[numbers[row]] = Dropped(Drop.NOT_BEST, why)
    return found


def _row(one: Exercise, settings: BacktranslateSettings) -> dict[str, Any]:
    """As `training.datasets.jsonl.Conversation` reads it, and what else one may want to know."""
    answer = one.answer
    if settings.thinking_in_answer and one.thinking:
        answer = f"<think>\n{one.thinking}\n</think>\n<answer>\n{answer}\n</answer>"
    row = {
        "id": f"{one.good.id}/{one.task}",
        "task": one.task,
        "domain": one.domain,
        "language": one.good.language,
        "group": one.good.group,
        "messages": [{"role": "user", "content": one.request}, {"role": "assistant", "content": answer}],
        "human": WAYS[one.task].human,
        "score": one.score.mean,
        "scores": {"quality": one.score.quality, "relevance": one.score.relevance, "worth": one.score.worth},
        "source": "backtranslate",
    }
    if one.task == "write":
        row["target"] = _target(one.good)  # POLARIS' target_word_count
    if one.thinking:
        row["thinking"] = one.thinking
    return row


def _report(
    settings: BacktranslateSettings,
    goods: Sequence[GoodText],
    made: Sequence[Exercise | Dropped],
    items: Sequence[Item],
    cost: Mapping[str, float],
    parts: Mapping[str, Sequence[Any]],
) -> dict[str, Any]:
    reasons: dict[Task, Counter[str]] = defaultdict(Counter)
    scores: dict[Task, list[float]] = defaultdict(list)
    for item, one in zip(items, made):
        if isinstance(one, Dropped):
            reasons[item.way.task][one.reason] += 1
        else:
            scores[one.task].append(one.score.mean)
    return {
        "texts": len(goods),
        "rows": {name: len(rows) for name, rows in parts.items()},
        "dropped": dict(sum(reasons.values(), Counter())),
        "tasks": [
            {
                "task": task,
                "human": WAYS[task].human,
                "asked": len(goods),
                "kept": len(scores[task]),
                "score": round(sum(scores[task]) / len(scores[task]), 3) if scores[task] else None,
                "dropped": dict(reasons[task]),
            }
            for task in settings.tasks
        ],
        "cost": dict(cost),
    }


def _card(found: Mapping[str, Any]) -> str:
    return dataset_card(
        "Requests for good texts",
        "Each row is a conversation of a request and its answer. Where `human` is true, the answer is a text by a person and a teacher model made "
        "the request, with the notes or the draft in it; else the teacher made the answer from such a text, too. `score` is the teacher's own second "
        "judgement, 1 to 5; `thinking`, where it is there, a plan that the teacher made for the story.",
        found,
        Table("Tasks", ("task", "answer by", "asked", "kept", "mean score"),
              [(one["task"], "a person" if one["human"] else "the teacher", one["asked"], one["kept"], "–" if one["score"] is None else f"{one['score']:.2f}")
               for one in found["tasks"]]),
        Table("Dropped", ("rows", "reason"), sorted(((number, reason) for reason, number in found["dropped"].items()), reverse=True)),
    )  # fmt: skip


class Asking:
    """The questions about one text and task."""

    def __init__(self, settings: BacktranslateSettings, teacher: Teacher) -> None:
        self.settings, self.teacher = settings, teacher

    async def exercise(self, item: Item) -> Exercise | Dropped:
        try:
            return await self._exercise(item.good, item.way)
        except Absent as absent:
            return Dropped(Drop.NO_ANSWER, str(absent))
        except Dropped as dropped:
            return dropped

    async def _exercise(self, good: GoodText, way: Way) -> Exercise:
        text = self._part(good, way)
        rng = random.Random(f"{self.settings.seed}/{good.sha256}/{way.task}")
        asked = questions.find(way, text, kind=rng.choice(way.ways), voice=rng.choice(VOICES))
        found = await self.teacher.ask(Question(asked, way.shape, self.settings.most_answer, self.settings.seed))
        found_well(way, text, found)
        instruction = found.instruction.strip()
        request = self._request(good, way, instruction, text if way.shown else found.made if way.human else "")
        answer = text if way.human else found.made
        thinking = await self._plan(text, request) if self.settings.thinking and way.task == "write" else ""
        score = await self._score(way, request, answer)
        return Exercise(good, way.task, instruction, request, answer, thinking, score)

    def _part(self, good: GoodText, way: Way) -> str:
        """The text as the task takes it. Raises Dropped."""
        words = count_words(good.text)
        if way.whole and words > self.settings.most_words:
            raise Dropped(Drop.LONG, f"it has {words:,} words")
        text = good.text if way.whole else excerpt(good, words=self.settings.words, most_before=words).text
        if (words := count_words(text)) < self.settings.least_words:
            raise Dropped(Drop.SHORT, f"it, or the passage that was chosen, has {words:,} words")
        return text

    @staticmethod
    def _request(good: GoodText, way: Way, instruction: str, context: str) -> str:
        if way.task == "write":
            return f"{instruction}\n{length_sentence(good)}"
        return f"{instruction}\n\n{context}" if context else instruction

    async def _plan(self, text: str, request: str) -> str:
        """A plan that shows nothing of the story; one that does is asked for once more. Raises Dropped."""
        asked = questions.plan(text, request)
        for seed in (self.settings.seed, self.settings.seed + AGAIN):
            plan = (await self.teacher.ask(Question(asked, Plan, self.settings.most_answer, seed))).thinking.strip()
            try:
                plans_well(text, plan)
                return plan
            except Dropped as dropped:
                last = dropped
        raise last

    async def _score(self, way: Way, request: str, answer: str) -> Score:
        asked = questions.score(way.task, request, answer)
        score = await self.teacher.ask(Question(asked, Score, 600, self.settings.seed, temperature=0.0))
        if min(score.quality, score.relevance) < self.settings.least_score:
            why = f"quality {score.quality}, relevance {score.relevance}: {score.because}"
            raise Dropped(Drop.LOW_SCORE, why)
        if way.task == "write" and score.gives_away:
            raise Dropped(Drop.GIVES_AWAY, f"the request tells how the story ends: {score.because}")
        return score


def length_sentence(good: GoodText) -> str:
    """As the narrator closes its request for a story; POLARIS' parser reads the number out of it."""
    [message] = story_request(title="", premise="", target=_target(good))
    sentence = message["content"].rpartition("\n")[2]
    return sentence if good.domain == "fiction" else sentence.replace("The story", "The text", 1)


def _target(good: GoodText) -> int:
    return round_words(count_words(good.text))
