"""What a teacher is asked about good texts and their requests.

What many questions share - the task and its worked cases - comes first and the text last, so that a server's prefix cache holds the rest. A text
is material: it stands between two lines that it cannot know, and the question says that nothing in it is meant for the reader.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from training.common.records import Task
from training.common.text import Message
from training.instruct.cases import cases_of, plan_cases
from training.instruct.tasks import Way
from training.teacher.fences import fenced

_SCHOOL = (
    "You make exercises for a school of writers. An exercise is a request, as a writer, an editor or an author would make it, and the answer to "
    "it. You start from a good text and find the exercise that belongs to it."
)
_RULES = (
    "Think first: say in `because`, in a few sentences, what in the text a request would be about, and what must be left for the answer. Then make the "
    "rest, and last the `instruction`: the request in the words of a real person who has never seen the answer. It copies no words of the answer "
    "and does not mention that there is a text to start from, except where one is attached to the request. Write all but `because` in the language of "
    "the text. Do not use words or ideas of the cases."
)


def find(way: Way, text: str, *, kind: str, voice: str) -> list[Message]:
    """The request that `text` answers, or one whose answer is made from it."""
    shared = [_SCHOOL, f"The task: {way.task.replace('_', ' ')}. {way.asks}", _RULES]
    for number, case in enumerate(cases_of(way.task), 1):
        shared += [f"Case {number}, the text:\n{case.source.text}"]
        shared += [f"Case {number}, the answer:\n{_json(case.answer.model_dump())}"]
    return _asked(
        "\n\n".join(shared),
        f"Now the text below. This time: {kind} The request sounds like this: {voice}.",
        {"TEXT": text},
    )


def plan(text: str, request: str) -> list[Message]:
    """What the writer of `text` may have thought when the request was made, before the first line."""
    thinker = (
        "You teach writers to think before they write. Below are a request and the text that a good writer wrote for it. Write down what this writer may "
        "have thought between the two: in the first person, in the present, loosely, as one thinks. What does the request want, and what not? Who, "
        "where, seen from where, in which voice? What happens in which order, and about how long is each part? Where is the turn, how does it end, "
        "what is left out, what could go wrong?"
    )
    rules = (
        "Nothing is written yet when this is thought: do not speak of a finished text, and quote none of its sentences. Think about the events; the "
        "words are found later. Between 100 and 600 words, in the language of the text, without headings or tags."
    )
    shared = [thinker, rules]
    for number, case in enumerate(plan_cases(), 1):
        shared += [f"Case {number}, the request:\n{case.instruction}", f"Case {number}, the text:\n{case.source.text}"]
        shared += [f"Case {number}, the answer:\n{_json(case.plan.model_dump())}"]
    return _asked("\n\n".join(shared), "Now the request and the text below.", {"REQUEST": request, "TEXT": text})


def score(task: Task, request: str, answer: str) -> list[Message]:
    """A second judgement, of a finished exercise."""
    return _asked(
        "You choose exercises for a school of writers. An exercise is a request and an answer, which learners are to take as their model.\n\n"
        "Judge three things from 1 to 5, and use the whole scale:\n"
        "`quality`, of the request: 1 - nobody would ask so, or it cannot be understood; 3 - clear, but stiff, vague or overloaded; 5 - clear, natural, "
        "and it says what matters to whoever asks.\n"
        "`relevance`, of the answer: 1 - it answers something else; 3 - it answers most of it; 5 - it does just what is asked, all of it.\n"
        "`worth`, of the exercise beside a thousand others: 1 - one more of the most common kind; 3 - some particulars of its own; 5 - subject, "
        "constraint or situation that is rare and teaches something.\n"
        "`gives_away`: is it a request for a story that tells how the story ends or what its turn is? False for any other exercise.\n"
        "Say in `because` in a sentence or two why.",
        f"The exercise below is of the kind “{task.replace('_', ' ')}”.",
        {"REQUEST": request, "ANSWER": answer},
    )


def _asked(shared: str, question: str, texts: Mapping[str, str]) -> list[Message]:
    content = f"{shared}\n\n{question}\n\n{fenced(texts)}"
    return [{"role": "user", "content": content}]


def _json(answer: object) -> str:
    return json.dumps(answer, ensure_ascii=False)
