"""Instruction back-translation (Weaver 3.3; POLARIS' prompt-story pairs): requests that good texts answer.

    good text x task -> request, with notes, a draft or an answer   (asked of the teacher, with worked cases; `questions.py`)
                     -> checks                                      (`checks.py`)
                     -> the plan for a story                        (asked; a second time where it quotes the story)
                     -> scores of the finished exercise             (asked in a question of its own)
    all rows         -> near duplicates of better rows are rejected -> the best of each task and domain are kept   (`selection.py`)

A row is a conversation: the request, with the context that its writer was given, and the answer. A request for a story ends with the same
sentence about its length as the narrator's request. Weaver scores with a weaker model; here the same teacher judges in a second
question. Weaver's prompts are not published: those here are this project's own, as are the checks. How POLARIS made its plans is not
known either.
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
from training.common.records import Domain
from training.common.tasks import TASKS, WritingTask
from training.common.text import count_words, round_words, story_request
from training.constitution.texts import GoodText, excerpt, is_held_out, read_good
from training.datasets.card import Table, dataset_card
from training.datasets.rejected import Rejected
from training.datasets.stage import Stage, run_until_stopped, stage
from training.instruct import questions
from training.instruct.answers import SHAPES, Plan, Score
from training.instruct.checks import Reason, check_answer, check_plan
from training.instruct.selection import near_duplicates, not_best
from training.instruct.settings import BacktranslateSettings
from training.teacher.client import Absent, Teacher

SECOND_PLAN = 2
"""Added to the seed for a second plan; the teacher's client uses the two seeds before it."""


@dataclass(frozen=True)
class Exercise:
    """A request and its answer, with scores."""

    good: GoodText
    task: str
    instruction: str
    request: str
    """The instruction, with its context and its sentence about length."""
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
    task: WritingTask


def backtranslate(settings: BacktranslateSettings) -> Path:
    """Run the stage. Returns the folder of the data set; raises MendableError if there is nothing to ask about."""
    goods = [one for one in read_good(settings.data) if TASKS[one.task].human][: settings.max_texts]
    if not goods:
        raise MendableError("The data contain no good text: no story, and no conversation that ends with one.")
    with stage(settings, settings.run_dir) as at:
        at.log.log(f"{len(goods):,} good texts, {len(settings.tasks)} tasks.")
        return run_until_stopped(lambda: _backtranslate(settings, goods, at))


async def _backtranslate(settings: BacktranslateSettings, goods: Sequence[GoodText], at: Stage) -> Path:
    # One task after another: the server's prefix cache holds what the questions of a task share.
    items = [Item(good, TASKS[task]) for task in settings.tasks for good in goods]
    async with Teacher(settings.teacher, at.calls, say=at.log.log) as teacher:
        maker = ExerciseMaker(settings, teacher)
        results = await at.each(items, maker.exercise, teacher)
        cost = teacher.metrics()
    results = _select(results, settings)
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "held_out": []}
    rejected = []
    for item, one in zip(items, results):
        if isinstance(one, Rejected):
            rejected.append({"id": item.good.id, "task": item.task.key, "reason": one.reason, "why": one.why})
        else:
            part = "held_out" if is_held_out(item.good, settings.held_out_share) else "train"
            parts[part].append(_row(one, settings))
    report = _report(settings, goods, results, items, cost, parts)
    at.log.log(f"{sum(report['rows'].values()):,} rows of {len(items):,} asked for.")
    return at.write(parts | {"rejected": rejected}, report, _card(report))


def _select(results: Sequence[Exercise | Rejected], settings: BacktranslateSettings) -> list[Exercise | Rejected]:
    """Return the list with near duplicates, and rows that are not among the best, replaced by Rejected."""
    found = list(results)
    numbers = [number for number, one in enumerate(found) if isinstance(one, Exercise)]
    rows = [one for one in results if isinstance(one, Exercise)]
    for row, other in near_duplicates(rows, settings.max_similarity).items():
        why = f"its instruction is nearly the same as that of {rows[other].good.id}"
        found[numbers[row]] = Rejected(Reason.NEAR_DUPLICATE, why)
    numbers = [number for number, one in enumerate(found) if isinstance(one, Exercise)]
    rows = [one for one in found if isinstance(one, Exercise)]
    for row in not_best(rows, settings.keep_share, settings.keep_max):
        why = f"other rows of its task have better scores than {rows[row].score.mean:g}"
        found[numbers[row]] = Rejected(Reason.NOT_BEST, why)
    return found


def _row(one: Exercise, settings: BacktranslateSettings) -> dict[str, Any]:
    """A row that `training.datasets.jsonl.Conversation` reads, with further facts."""
    task = TASKS[one.task]
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
        "human": task.human,
        "score": one.score.mean,
        "scores": {"quality": one.score.quality, "relevance": one.score.relevance, "worth": one.score.worth},
        "source": "backtranslate",
    }
    if task.composes:
        row["target"] = _target(one.good)  # POLARIS' target_word_count
    if one.thinking:
        row["thinking"] = one.thinking
    return row


def _report(
    settings: BacktranslateSettings,
    goods: Sequence[GoodText],
    results: Sequence[Exercise | Rejected],
    items: Sequence[Item],
    cost: Mapping[str, float],
    parts: Mapping[str, Sequence[Any]],
) -> dict[str, Any]:
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    scores: dict[str, list[float]] = defaultdict(list)
    for item, one in zip(items, results):
        if isinstance(one, Rejected):
            reasons[item.task.key][one.reason] += 1
        else:
            scores[one.task].append(one.score.mean)
    return {
        "texts": len(goods),
        "rows": {name: len(rows) for name, rows in parts.items()},
        "rejected": dict(sum(reasons.values(), Counter())),
        "tasks": [
            {
                "task": task,
                "human": TASKS[task].human,
                "asked": len(goods),
                "kept": len(scores[task]),
                "score": round(sum(scores[task]) / len(scores[task]), 3) if scores[task] else None,
                "rejected": dict(reasons[task]),
            }
            for task in settings.tasks
        ],
        "cost": dict(cost),
    }


def _card(report: Mapping[str, Any]) -> str:
    return dataset_card(
        "Requests for good texts",
        "Each row is a conversation of a request and its answer. Where `human` is true, the answer is a text by a person, and a teacher model wrote "
        "the request with its notes or draft; otherwise the teacher wrote the answer from such a text, too. `score` is the teacher's second "
        "judgement, from 1 to 5; `thinking`, where present, is a plan for the story that the teacher wrote.",
        report,
        Table("Tasks", ("task", "answer by", "asked", "kept", "mean score"),
              [(one["task"], "a person" if one["human"] else "the teacher", one["asked"], one["kept"], "–" if one["score"] is None else f"{one['score']:.2f}")
               for one in report["tasks"]]),
        Table("Rejected", ("rows", "reason"), sorted(((number, reason) for reason, number in report["rejected"].items()), reverse=True)),
    )  # fmt: skip


class ExerciseMaker:
    """Asks the questions about one text and task."""

    def __init__(self, settings: BacktranslateSettings, teacher: Teacher) -> None:
        self.settings, self.teacher = settings, teacher

    async def exercise(self, item: Item) -> Exercise | Rejected:
        try:
            return await self._exercise(item.good, item.task)
        except Absent as absent:
            return Rejected(Reason.NO_ANSWER, str(absent))
        except Rejected as rejected:
            return rejected

    async def _exercise(self, good: GoodText, task: WritingTask) -> Exercise:
        text = self._text_for(good, task)
        rng = random.Random(f"{self.settings.seed}/{good.sha256}/{task.key}")
        asked = questions.exercise(task, text, variant=rng.choice(task.variants), tone=rng.choice(questions.TONES))
        question = Question(asked, SHAPES[task.shape], self.settings.max_answer_tokens, self.settings.seed)
        found = await self.teacher.ask(question)
        check_answer(task, text, found)
        instruction = found.instruction.strip()
        context = text if task.attached else found.written if task.human else ""
        request = self._request(good, task, instruction, context)
        answer = text if task.human else found.written
        thinking = await self._plan(text, request) if self.settings.thinking and task.composes else ""
        score = await self._score(task, request, answer)
        return Exercise(good, task.key, instruction, request, answer, thinking, score)

    def _text_for(self, good: GoodText, task: WritingTask) -> str:
        """The whole text or a passage of it, as the task needs. Raises Rejected."""
        words = count_words(good.text)
        if task.whole and words > self.settings.max_words:
            raise Rejected(Reason.LONG, f"it has {words:,} words")
        text = good.text if task.whole else excerpt(good, words=self.settings.passage_words, max_before=words).text
        if (words := count_words(text)) < self.settings.min_words:
            raise Rejected(Reason.SHORT, f"it, or the passage taken from it, has {words:,} words")
        return text

    @staticmethod
    def _request(good: GoodText, task: WritingTask, instruction: str, context: str) -> str:
        if task.composes:
            return f"{instruction}\n{length_sentence(good)}"
        return f"{instruction}\n\n{context}" if context else instruction

    async def _plan(self, text: str, request: str) -> str:
        """A plan that reveals nothing of the story, asked for twice at most. Raises Rejected."""
        asked = questions.plan(text, request)
        for seed in (self.settings.seed, self.settings.seed + SECOND_PLAN):
            question = Question(asked, Plan, self.settings.max_answer_tokens, seed)
            plan = (await self.teacher.ask(question)).thinking.strip()
            try:
                check_plan(text, plan)
                return plan
            except Rejected as rejected:
                last = rejected
        raise last

    async def _score(self, task: WritingTask, request: str, answer: str) -> Score:
        asked = questions.score(task, request, answer)
        score = await self.teacher.ask(Question(asked, Score, 600, self.settings.seed, temperature=0.0))
        if min(score.quality, score.relevance) < self.settings.min_score:
            why = f"quality {score.quality}, relevance {score.relevance}: {score.because}"
            raise Rejected(Reason.LOW_SCORE, why)
        if task.composes and score.reveals_ending:
            raise Rejected(Reason.REVEALS_ENDING, f"the request reveals how the story ends: {score.because}")
        return score


def length_sentence(good: GoodText) -> str:
    """The sentence with which the narrator ends a request for a story. POLARIS' parser reads the number in it."""
    [message] = story_request(title="", premise="", target=_target(good))
    sentence = message["content"].rpartition("\n")[2]
    return sentence if good.domain == "fiction" else sentence.replace("The story", "The text", 1)


def _target(good: GoodText) -> int:
    return round_words(count_words(good.text))
