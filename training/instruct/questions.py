"""The questions that a teacher is asked about good texts and requests for them.

What many questions share (the task and its worked cases) comes first and the text last, so that a server can reuse its prefix cache.
Texts are fenced (`training.teacher.fences`): they are material, and instructions in them do not count.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from training.common.tasks import WritingTask
from training.common.text import Message
from training.instruct.cases import cases_of, plan_cases
from training.teacher.fences import fenced

TONES = (
    "friendly, in two or three sentences",
    "brief, in one sentence",
    "polite and exact, in three or four sentences",
    "like a text message, in which lower case is allowed",
    "well considered, in one paragraph with details",
    "phrased as a question",
    "as an editor writes to a colleague, in two sentences",
    "by somebody who writes for the first time and says so, or lets it show",
)
"""Tones of a request, one of which is drawn for each row: otherwise a teacher writes all requests alike."""

_INTRODUCTION = (
    "You make exercises for a writing school. An exercise is a request, as a writer, an editor or an author would make it, and the answer to "
    "it. You start from a good text and write the exercise that belongs to it."
)
_RULES = (
    "First give your reasons in `because`, in a few sentences: what in the text a request would be about, and what must be left to the answer. "
    "Then write the other fields, and the `instruction` last: the request in the words of a real person who has never seen the answer. It repeats no "
    "words of the answer, and mentions no existing text unless one is attached to the request. Write everything but `because` in the language of "
    "the text. Do not reuse words or ideas of the cases."
)


def exercise(task: WritingTask, text: str, *, variant: str, tone: str) -> list[Message]:
    """Ask for a request that `text` answers, or for one whose answer is written from `text`."""
    shared = [_INTRODUCTION, f"The task: {_name(task)}. {task.prompt}", _RULES]
    for number, case in enumerate(cases_of(task.key), 1):
        shared += [f"Case {number}, the text:\n{case.source.text}"]
        shared += [f"Case {number}, the answer:\n{_json(case.answer.model_dump())}"]
    return _asked(
        "\n\n".join(shared),
        f"Now the text below. For this text: {variant} The tone of the request: {tone}.",
        {"TEXT": text},
    )


def plan(text: str, request: str) -> list[Message]:
    """Ask what the writer of `text` may have thought after reading the request, before the first line."""
    introduction = (
        "You teach writers to think before they write. Below are a request and the text that a good writer wrote for it. Write down what this writer may "
        "have thought between the two, informally, in the first person and the present tense. What does the request ask for, and what not? Who, "
        "where, from which point of view, in which voice? What happens in which order, and how long is each part, roughly? What is the turning point, "
        "how does it end, what is left out, what could go wrong?"
    )
    rules = (
        "Nothing is written yet at this point: do not refer to a finished text, and quote none of its sentences. Think about the events; the "
        "wording comes later. Write 100 to 600 words in the language of the text, without headings or tags."
    )
    shared = [introduction, rules]
    for number, case in enumerate(plan_cases(), 1):
        shared += [f"Case {number}, the request:\n{case.instruction}", f"Case {number}, the text:\n{case.source.text}"]
        shared += [f"Case {number}, the answer:\n{_json(case.plan.model_dump())}"]
    return _asked("\n\n".join(shared), "Now the request and the text below.", {"REQUEST": request, "TEXT": text})


def score(task: WritingTask, request: str, answer: str) -> list[Message]:
    """Ask for a second judgement, of a finished exercise."""
    return _asked(
        "You select exercises for a writing school. An exercise is a request and an answer, which learners take as their model.\n\n"
        "Rate three things from 1 to 5, and use the whole scale:\n"
        "`quality`, of the request: 1 - nobody would ask this, or it cannot be understood; 3 - clear, but stiff, vague or overloaded; 5 - clear, "
        "natural, and it says what matters to the person who asks.\n"
        "`relevance`, of the answer: 1 - it answers something else; 3 - it answers most of the request; 5 - it does exactly what is asked, and all of "
        "it.\n"
        "`worth`, of the exercise compared with a thousand others: 1 - one more of the most common kind; 3 - it has some details of its own; 5 - its "
        "subject, constraint or situation is rare and instructive.\n"
        "`reveals_ending`: does a request for a new story reveal how the story ends, or its turning point? False for any other exercise.\n"
        "Give your reasons in `because`, in one or two sentences.",
        f"The exercise below is of the kind “{_name(task)}”.",
        {"REQUEST": request, "ANSWER": answer},
    )


def _name(task: WritingTask) -> str:
    return task.key.replace("_", " ")


def _asked(shared: str, question: str, texts: Mapping[str, str]) -> list[Message]:
    content = f"{shared}\n\n{question}\n\n{fenced(texts)}"
    return [{"role": "user", "content": content}]


def _json(answer: object) -> str:
    return json.dumps(answer, ensure_ascii=False)
