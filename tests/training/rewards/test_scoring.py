"""All rewards of a story together: each gets only what it needs, and missing judgements are None. The judges are fakes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.conftest import made_up_story
from tests.training.rewards.test_judges import sheet
from tests.training.teacher.fake import FakeTeacher
from training.common.errors import MendableError
from training.common.question import Question
from training.common.records import Principle
from training.config.declarations import Answer, Resources, Reward, Score, Vectors
from training.config.teacher import TeacherSettings
from training.datasets.requests import Request
from training.rewards import registry, scoring
from training.rewards.blank import polaris_blank
from training.rewards.length import polaris_length
from training.rewards.range import longwriter_length
from training.rewards.registry import REWARDS, needs_of
from training.rewards.repetition import polaris_repetition
from training.rewards.scoring import Scoring, asking
from training.rewards.settings import RewardSettings
from training.teacher.client import Teacher

STORY = made_up_story(3, 60)
RAW = f"<think>\nA lamp.\n</think>\n<answer>\n{STORY}\n</answer>"
REQUEST = Request(({"role": "user", "content": "Write a story of 900 words."},), (1,), 900, None, "")
JUDGE: Any = {"url": "http://judge", "model": "fake"}
PRINCIPLE = Principle(key="one", name="one", domains=("fiction",), tasks=("write",), explanation="About one.")


def asked(answers: dict[str, str | None]) -> Any:
    """A FAKE judge: it answers by the shape that is asked for."""

    async def ask(question: Question[Any]) -> Any:
        text = answers[question.answer.__name__]
        return None if text is None else question.answer.model_validate_json(text)

    return ask


async def preference(answer: Answer) -> float:
    return float(len(answer.text))


def embeddings(sentences: Sequence[str]) -> Vectors:
    """As if all said the same."""
    found: Vectors = np.ones((len(sentences), 1), np.float32)
    return found


def settings(*names: str, **more: Any) -> RewardSettings:
    given = {"weights": dict.fromkeys(names, 1.0), "judge": JUDGE, "preference": "folder", "constitution": "file"}
    return RewardSettings.model_validate(given | more)


def scored(given: RewardSettings, resources: Resources, raw: str = RAW) -> Any:
    return asyncio.run(Scoring(given, resources).score(REQUEST, raw))


def test_each_reward_is_what_its_formula_gives() -> None:
    judge = asked({"Sheet": sheet(), "Broken": json.dumps({"broken": []})})
    resources = Resources(judge=judge, constitution=[PRINCIPLE], preference=preference, embeddings=embeddings)
    found = scored(settings(*REWARDS, range={"longest": 1000}), resources)
    sentences = 1 - 1 / len([one for one in STORY.replace("\n\n", " ").split(". ") if one])
    assert found.rewards == {
        "quality": pytest.approx(0.48),
        "preference": float(len(STORY)),
        "principles": 1.0,
        "length": polaris_length(STORY, 900),
        "range": longwriter_length(STORY, 810, 990, 1000),
        "repetition": polaris_repetition(STORY),
        "paraphrase": pytest.approx(sentences, abs=0.2),
        "blank": polaris_blank(STORY),
        "form": 1.0,
    }
    assert [*found.rewards] == [*REWARDS]
    assert found.notes["rubric_P1"] > 0
    assert found.notes["thinking_words"] == 2
    assert found.notes["length_ratio"] == found.notes["words"] / 900


def test_what_nobody_can_say_is_absent() -> None:
    request = Request(({"role": "user", "content": "Write."},), (1,), None, None, "")
    judge = asked({"Sheet": None, "Broken": None, "Predicted": None})
    given = settings("quality", "principles", "length", "range", "form")
    for ranges in (judge, None):
        resources = Resources(judge=judge, ranges=ranges, constitution=[PRINCIPLE])
        found = asyncio.run(Scoring(given, resources).score(request, "A story."))
        assert found.rewards == {"quality": None, "principles": None, "length": None, "range": None, "form": 0.0}


def test_a_length_that_is_not_named_is_asked_for() -> None:
    request = Request(({"role": "user", "content": "Write."},), (1,), None, None, "")
    ranges = asked({"Predicted": json.dumps({"because": "So.", "low": 100, "high": 200})})
    found = asyncio.run(Scoring(settings("range"), Resources(ranges=ranges)).score(request, "one two " * 25))
    assert found.rewards == {"range": 0.5}


def test_judges_and_rules_are_at_work_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits until all three are there: one after another none would be done."""
    there: list[str] = []

    def wait(name: str) -> float:
        there.append(name)
        end = time.monotonic() + 20
        while len(there) < 3 and time.monotonic() < end:
            time.sleep(0.005)
        return float(len(there))

    async def ask(answer: Answer, given: Resources) -> float:
        return await asyncio.to_thread(wait, "asked")

    def rule(name: str) -> Reward:
        return Reward(name=name, meaning="", score=lambda answer, given: wait(name))

    toys = {one.name: one for one in (rule("one"), rule("two"), Reward(name="ask", meaning="", score=ask))}
    monkeypatch.setattr(registry, "REWARDS", toys)
    monkeypatch.setattr(scoring, "REWARDS", toys)
    given = RewardSettings.model_construct(weights=dict.fromkeys(toys, 1.0))
    assert scored(given, Resources()).rewards == {"one": 3.0, "two": 3.0, "ask": 3.0}


def test_a_reward_gets_what_it_needs_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def score(answer: Answer, given: Resources) -> Score:
        assert given.constitution == ()
        return Score(float(given.embeddings([answer.text]).sum()), {"mine": 1.0})

    for needs, error in ((("embeddings",), None), ((), "its `needs` do not name")):
        toy = Reward(name="toy", meaning="", score=score, needs=needs)  # type: ignore[arg-type]
        monkeypatch.setattr(scoring, "REWARDS", {"toy": toy})
        given = RewardSettings.model_construct(weights={"toy": 1.0})
        resources = Resources(embeddings=embeddings, constitution=[PRINCIPLE])
        if error is None:
            found = scored(given, resources)
            assert (found.rewards, found.notes["mine"]) == ({"toy": 1.0}, 1.0)
        else:
            with pytest.raises(ExceptionGroup) as raised:
                scored(given, resources)
            assert error in str(raised.value.exceptions[0])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), np.float32("nan"), 1e300])
def test_what_is_no_number_is_absent_and_counted(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    toy = Reward(name="toy", meaning="", score=lambda answer, given: Score(value, {"bad": float("nan"), "good": 1.0}))
    monkeypatch.setattr(scoring, "REWARDS", {"toy": toy})
    found = scored(RewardSettings.model_construct(weights={"toy": 1.0}), Resources())
    assert found.rewards == {"toy": None}
    assert found.notes["not_finite"] == found.notes["good"] == 1.0
    assert "bad" not in found.notes
    json.dumps([dict(found.rewards), dict(found.notes)], allow_nan=False)


def test_a_template_that_opens_the_thinking_is_part_of_the_form() -> None:
    """The gatherer puts what the template has written before what the policy wrote."""
    for begun, thinks, raw in (
        ("<think>\n", True, RAW.removeprefix("<think>\n")),
        ("<think>\n\n</think>\n\n", False, f"<answer>{STORY}</answer>"),
    ):
        request = Request(REQUEST.prompt, (1,), 900, None, "", begun, thinks)
        found = asyncio.run(Scoring(settings("form"), Resources()).score(request, begun + raw))
        assert found.rewards == {"form": 1.0}
        assert found.notes["thinking_words"] == (2 if thinks else 0)


def test_the_words_in_the_data_are_a_range_too() -> None:
    request = Request(({"role": "user", "content": "Write."},), (1,), 100, None, "")
    found = asyncio.run(Scoring(settings("range"), Resources()).score(request, "one two " * 50))
    assert found.rewards == {"range": 1.0}
    assert "not_finite" not in found.notes


def test_which_reward_needs_a_length() -> None:
    assert settings("form").needs_target == ""
    assert settings("form", "length").needs_target == "length"
    assert settings("range").needs_target == "range"
    assert settings("range", ranges=JUDGE).needs_target == ""
    assert settings("range", "length", ranges=JUDGE).needs_target == "length"


def test_needs_of_several() -> None:
    assert needs_of(["quality", "principles", "length"]) == {"judge", "constitution"}
    assert needs_of(["range", "paraphrase", "preference"]) == {"ranges", "embeddings", "preference"}


def test_no_answer_is_none_and_a_refused_key_ends_the_run_in_its_own_words(tmp_path: Path) -> None:
    judge = FakeTeacher(lambda body: "no JSON")

    async def both() -> Any:
        async with Teacher(TeacherSettings(url=judge.url, model="fake"), tmp_path / "calls.jsonl", {}) as teacher:
            one = Scoring(settings("quality"), Resources(judge=asking(teacher)), [teacher])
            absent = await one.score(REQUEST, RAW)
            judge.fault = lambda body, time: "key"
            with pytest.raises(MendableError, match="refuses the key"):
                await one.score(REQUEST, "Another story.")
            return absent

    try:
        assert asyncio.run(both()).rewards == {"quality": None}
    finally:
        judge.stop()
