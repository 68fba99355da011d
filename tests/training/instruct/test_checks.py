from __future__ import annotations

from copy import deepcopy
from enum import StrEnum
from typing import Any

import pytest

from tests.training.instruct.recorded import EELS, MAST
from training.common.tasks import TASKS
from training.datasets.rejected import Rejected
from training.instruct.answers import SHAPES, Request
from training.instruct.cases import cases_of
from training.instruct.checks import Reason, check_answer, check_plan, common_share, share_ngram

SENTENCE = "She brought them on the first of the month, alive, in a bucket with a lid"
"""A sentence of the text with more than twelve words."""


def reason_of(task: str, **changes: Any) -> StrEnum | None:
    """The reason for which the recorded answer with these changes is rejected, or None."""
    answer = SHAPES[TASKS[task].shape].model_validate(deepcopy(EELS.answers[task]) | changes)
    try:
        check_answer(TASKS[task], EELS.text, answer)
    except Rejected as rejected:
        return rejected.reason
    return None


@pytest.mark.parametrize("task", TASKS)
def test_a_good_answer_passes(task: str) -> None:
    assert reason_of(task) is None


@pytest.mark.parametrize("task", [key for key, task in TASKS.items() if task.human])
def test_a_request_must_not_repeat_its_answer(task: str) -> None:
    assert reason_of(task, instruction=f"Write it thus: {SENTENCE.upper()}.") == Reason.LEAK
    assert reason_of(task, instruction=f"Say: {' '.join(SENTENCE.split()[:12])}!") == Reason.LEAK
    assert reason_of(task, instruction=f"Say: {' '.join(SENTENCE.split()[:11])}!") is None


def test_a_request_must_not_repeat_the_teachers_answer() -> None:
    idea = EELS.answers["brainstorm"]["items"][0]
    assert reason_of("brainstorm", instruction=f"I have this idea already: {idea}") == Reason.LEAK
    assert reason_of("outline", instruction="Say: " + EELS.answers["outline"]["output"]) == Reason.LEAK


CASES: list[tuple[str, dict[str, Any], Reason]] = [
    ("write", {"instruction": "Eels!"}, Reason.EMPTY),
    ("write", {"instruction": "A story of 500 words about eels, please."}, Reason.LENGTH),
    ("write", {"instruction": "A five-hundred-word tale of eels, please."}, Reason.LENGTH),
    ("write", {"instruction": "A tale of eels in deux mille mots, please."}, Reason.LENGTH),
    ("write", {"instruction": "A fifty-word tale of eels, please."}, Reason.LENGTH),
    ("write", {"instruction": "Write a story that is like the story above."}, Reason.SOURCE),
    ("write", {"instruction": "Write something like the original text, please."}, Reason.SOURCE),
    ("brainstorm", {"instruction": "What else could happen in the given story?"}, Reason.SOURCE),
    ("write", {"instruction": "Bitte schreib mir eine Geschichte von einer Witwe, die ihre Miete in Fischen zahlt, und von einem Winter."}, Reason.LANGUAGE),
    ("write", {"instruction": "Напиши рассказ о вдове, которая платит рыбой."}, Reason.LANGUAGE),
    ("write", {"instruction": cases_of("write")[0].answer.instruction}, Reason.CASE),
    ("expand", {"context": "— …"}, Reason.EMPTY),
    ("expand", {"context": EELS.text}, Reason.LENGTH),
    ("expand", {"context": f"{SENTENCE}; later she had none."}, Reason.COPY),
    ("expand", {"context": "Three people at a weather station see that a mast leans; one of them listens to it for long."}, Reason.UNRELATED),
    ("polish", {"context": EELS.text}, Reason.COPY),
    ("polish", {"context": EELS.text.replace("“", '"').replace("”", '"').upper()}, Reason.COPY),
    ("polish", {"context": EELS.text.replace("eels", "fish")}, Reason.COPY),
    ("polish", {"context": MAST.text}, Reason.UNRELATED),
    ("polish", {"context": " ".join(reversed(EELS.text.split()))}, Reason.UNRELATED),  # its words, but no draft of it
    ("polish", {"context": EELS.text[:200]}, Reason.LENGTH),
    ("condense", {"context": EELS.text.replace("eels", "fish")}, Reason.LENGTH),
    ("condense", {"context": MAST.text + "\n\n" + MAST.answers["polish"]["context"]}, Reason.UNRELATED),
    ("style_transfer", {"context": EELS.text.replace("eels", "fish")}, Reason.COPY),
    ("style_transfer", {"context": MAST.answers["style_transfer"]["context"]}, Reason.UNRELATED),
    ("style_transfer", {"context": "Die Witwe zahlt mit Aalen, und der Vater schreibt es in das Buch, auch als der Fluss gefroren ist."}, Reason.LANGUAGE),
    ("outline", {"output": EELS.answers["condense"]["context"]}, Reason.LENGTH),
    ("outline", {"output": f"1. {SENTENCE}. 2. It ends."}, Reason.COPY),
    ("review", {"quotes": ["she wept bitterly"]}, Reason.QUOTE),
    ("review", {"quotes": ["My father looked down", "dipped the pen"]}, Reason.QUOTE),  # it stands in the text alone
    ("review", {"quotes": ["“…”"]}, Reason.QUOTE),
    ("chat", {"quotes": ["a hand’s breadth out of true"]}, Reason.QUOTE),
    ("title", {"items": ["Eels", "eels!", "Rent"]}, Reason.EMPTY),
    ("title", {"items": ["Eels", "…", "Rent"]}, Reason.EMPTY),
    ("title", {"items": ["Eels", "Rent", "The Winter in Which My Father Looked Down for a Long While"]}, Reason.LENGTH),
]  # fmt: skip


@pytest.mark.parametrize(("task", "changes", "reason"), CASES)
def test_bad_answers_are_rejected(task: str, changes: dict[str, Any], reason: Reason) -> None:
    assert reason_of(task, **changes) == reason


def test_a_request_may_refer_to_an_attached_text() -> None:
    said = "Please shorten the text below."
    assert reason_of("condense", instruction=said) is reason_of("review", instruction=said) is None


def test_quotes_match_whatever_their_punctuation() -> None:
    output = EELS.answers["review"]["output"] + " 'how many' (he asked EACH time)"
    assert reason_of("review", quotes=["How many?” he asked each time"], output=output) is None


def test_a_german_text_needs_a_german_request() -> None:
    german = (
        "Die Witwe Karstens zahlte ihre Miete mit Aalen. Am Ersten des Monats brachte sie einen Eimer mit Deckel, und mein Vater trug die Aale in "
        "das Buch ein. Im Winter, als der Fluss zugefroren war, kam sie mit nichts als Wasser darin, und er schrieb zwölf."
    )
    asked = "Eine kurze Geschichte bitte, von einer Frau, die ihre Miete nicht mit Geld bezahlt, und von einem harten Winter am Fluss."
    check_answer(TASKS["write"], german, Request(because="x", instruction=asked))
    with pytest.raises(Rejected) as rejected:
        check_answer(TASKS["write"], german, Request(because="x", instruction=EELS.answers["write"]["instruction"]))
    assert rejected.value.reason == Reason.LANGUAGE


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
        check_plan(EELS.text, plan)
        return
    with pytest.raises(Rejected) as rejected:
        check_plan(EELS.text, plan)
    assert rejected.value.reason == Reason.PLAN


def test_a_story_with_thinking_tags_is_rejected() -> None:
    with pytest.raises(Rejected, match="</think") as rejected:
        check_plan(f"{EELS.text} </think>", EELS.plan)
    assert rejected.value.reason == Reason.PLAN


def test_ngrams_and_words_in_common() -> None:
    assert share_ngram("It’s the OLD clock, again", "see: its the old clock", 4)
    assert not share_ngram("a b c", "a b c", 4)
    assert common_share("the eels and the bucket", "of eels in a Bucket, and of oars") == 1.0
    assert common_share("the", "eels") == 0.0
