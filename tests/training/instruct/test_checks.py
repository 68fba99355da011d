from __future__ import annotations

from copy import deepcopy
from enum import StrEnum
from typing import Any

import pytest

from tests.training.instruct.recorded import EELS, MAST
from training.common.records import Task
from training.datasets.rejected import Dropped
from training.instruct.answers import Request
from training.instruct.cases import cases_of
from training.instruct.checks import Drop, common_share, found_well, has_run, plans_well
from training.instruct.settings import ALL_TASKS
from training.instruct.tasks import WAYS

SENTENCE = "She brought them on the first of the month, alive, in a bucket with a lid"
"""Of the text, with more than twelve words."""


def reason_of(task: Task, **changes: Any) -> StrEnum | None:
    """What comes of the recorded answer with these changes."""
    answer = WAYS[task].shape.model_validate(deepcopy(EELS.answers[task]) | changes)
    try:
        found_well(WAYS[task], EELS.text, answer)
    except Dropped as dropped:
        return dropped.reason
    return None


@pytest.mark.parametrize("task", ALL_TASKS)
def test_a_good_answer(task: Task) -> None:
    assert reason_of(task) is None


@pytest.mark.parametrize("task", [task for task in ALL_TASKS if WAYS[task].human])
def test_a_request_that_holds_its_answer(task: Task) -> None:
    assert reason_of(task, instruction=f"Write it thus: {SENTENCE.upper()}.") == Drop.LEAK
    assert reason_of(task, instruction=f"Say: {' '.join(SENTENCE.split()[:12])}!") == Drop.LEAK
    assert reason_of(task, instruction=f"Say: {' '.join(SENTENCE.split()[:11])}!") is None


def test_a_request_that_holds_an_answer_of_the_teacher() -> None:
    idea = EELS.answers["brainstorm"]["items"][0]
    assert reason_of("brainstorm", instruction=f"I have this idea already: {idea}") == Drop.LEAK
    assert reason_of("outline", instruction="Say: " + EELS.answers["outline"]["output"]) == Drop.LEAK


CASES: list[tuple[Task, dict[str, Any], Drop]] = [
    ("write", {"instruction": "Eels!"}, Drop.EMPTY),
    ("write", {"instruction": "A story of 500 words about eels, please."}, Drop.LENGTH),
    ("write", {"instruction": "A five-hundred-word tale of eels, please."}, Drop.LENGTH),
    ("write", {"instruction": "Write a story that is like the story above."}, Drop.SOURCE),
    ("write", {"instruction": "Write something like the original text, please."}, Drop.SOURCE),
    ("brainstorm", {"instruction": "What else could happen in the given story?"}, Drop.SOURCE),
    ("write", {"instruction": "Bitte schreib mir eine Geschichte von einer Witwe, die ihre Miete in Fischen zahlt, und von einem Winter."}, Drop.LANGUAGE),
    ("write", {"instruction": "Напиши рассказ о вдове, которая платит рыбой."}, Drop.LANGUAGE),
    ("write", {"instruction": cases_of("write")[0].answer.instruction}, Drop.CASE),
    ("expand", {"context": "— …"}, Drop.EMPTY),
    ("expand", {"context": EELS.text}, Drop.LENGTH),
    ("expand", {"context": f"{SENTENCE}; later she had none."}, Drop.COPY),
    ("expand", {"context": "Three people at a weather station see that a mast leans; one of them listens to it for long."}, Drop.UNRELATED),
    ("polish", {"context": EELS.text}, Drop.COPY),
    ("polish", {"context": EELS.text.replace("“", '"').replace("”", '"').upper()}, Drop.COPY),
    ("polish", {"context": EELS.text.replace("eels", "fish")}, Drop.COPY),
    ("polish", {"context": MAST.text}, Drop.UNRELATED),
    ("polish", {"context": " ".join(reversed(EELS.text.split()))}, Drop.UNRELATED),  # its words, but no draft of it
    ("polish", {"context": EELS.text[:200]}, Drop.LENGTH),
    ("condense", {"context": EELS.text.replace("eels", "fish")}, Drop.LENGTH),
    ("condense", {"context": MAST.text + "\n\n" + MAST.answers["polish"]["context"]}, Drop.UNRELATED),
    ("style_transfer", {"context": EELS.text.replace("eels", "fish")}, Drop.COPY),
    ("style_transfer", {"context": MAST.answers["style_transfer"]["context"]}, Drop.UNRELATED),
    ("style_transfer", {"context": "Die Witwe zahlt mit Aalen, und der Vater schreibt es in das Buch, auch als der Fluss gefroren ist."}, Drop.LANGUAGE),
    ("outline", {"output": EELS.answers["condense"]["context"]}, Drop.LENGTH),
    ("outline", {"output": f"1. {SENTENCE}. 2. It ends."}, Drop.COPY),
    ("review", {"quotes": ["she wept bitterly"]}, Drop.QUOTE),
    ("review", {"quotes": ["My father looked down", "dipped the pen"]}, Drop.QUOTE),  # it stands in the text alone
    ("review", {"quotes": ["“…”"]}, Drop.QUOTE),
    ("chat", {"quotes": ["a hand’s breadth out of true"]}, Drop.QUOTE),
    ("title", {"items": ["Eels", "eels!", "Rent"]}, Drop.EMPTY),
    ("title", {"items": ["Eels", "…", "Rent"]}, Drop.EMPTY),
    ("title", {"items": ["Eels", "Rent", "The Winter in Which My Father Looked Down for a Long While"]}, Drop.LENGTH),
]  # fmt: skip


@pytest.mark.parametrize(("task", "changes", "reason"), CASES)
def test_what_a_teacher_makes_that_is_none(task: Task, changes: dict[str, Any], reason: Drop) -> None:
    assert reason_of(task, **changes) == reason


def test_a_request_may_speak_of_a_text_that_is_attached() -> None:
    said = "Please shorten the text below."
    assert reason_of("condense", instruction=said) is reason_of("review", instruction=said) is None


def test_quotes_are_found_whatever_their_signs() -> None:
    output = EELS.answers["review"]["output"] + " 'how many' (he asked EACH time)"
    assert reason_of("review", quotes=["How many?” he asked each time"], output=output) is None


def test_a_text_that_is_not_english() -> None:
    german = (
        "Die Witwe Karstens zahlte ihre Miete mit Aalen. Am Ersten des Monats brachte sie einen Eimer mit Deckel, und mein Vater trug die Aale in "
        "das Buch ein. Im Winter, als der Fluss zugefroren war, kam sie mit nichts als Wasser darin, und er schrieb zwölf."
    )
    asked = "Eine kurze Geschichte bitte, von einer Frau, die ihre Miete nicht mit Geld bezahlt, und von einem harten Winter am Fluss."
    found_well(WAYS["write"], german, Request(because="x", instruction=asked))
    with pytest.raises(Dropped) as dropped:
        found_well(WAYS["write"], german, Request(because="x", instruction=EELS.answers["write"]["instruction"]))
    assert dropped.value.reason == Drop.LANGUAGE


STORY_RUN = "My father looked down for a long while"
"""Eight words of the text."""


@pytest.mark.parametrize(
    ("plan", "passes"),
    [
        (EELS.plan, True),
        (f"{EELS.plan} He looks: {STORY_RUN}.", False),
        (f"{EELS.plan} He looks: {STORY_RUN.rpartition(' ')[0]}.", True),
        ("A widow, eels, a book.", False),
        (f"<think>{EELS.plan}</think>", False),
        (f"{EELS.plan} </answer>", False),
        (f"{EELS.plan} The original story does this better.", False),
    ],
)
def test_plans(plan: str, passes: bool) -> None:
    if passes:
        plans_well(EELS.text, plan)
        return
    with pytest.raises(Dropped) as dropped:
        plans_well(EELS.text, plan)
    assert dropped.value.reason == Drop.PLAN


def test_tags_in_a_story_would_end_its_thought() -> None:
    with pytest.raises(Dropped, match="</think") as dropped:
        plans_well(f"{EELS.text} </think>", EELS.plan)
    assert dropped.value.reason == Drop.PLAN


def test_runs_and_words_in_common() -> None:
    assert has_run("It’s the OLD clock, again", "see: its the old clock", 4)
    assert not has_run("a b c", "a b c", 4)
    assert common_share("the eels and the bucket", "of eels in a Bucket, and of oars") == 1.0
    assert common_share("the", "eels") == 0.0
