"""A second judge and probes detect what the rewards do not. The judges are fakes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from training.common.errors import MendableError
from training.datasets.requests import Request
from training.recipes.grpo import GrpoSettings
from training.rewards.probes import ADDRESS
from training.rewards.records import StoryScore
from training.rewards.repetition import polaris_repetition
from training.rollouts.gather import Group
from training.rollouts.guards import WORSE, Guards, Halted
from training.rollouts.monitors import Monitors
from training.rollouts.records import Rollout

STORY = """At six the keeper climbed the stairs, counting. Fog had eaten the harbour, and with it every boat.

Nobody came over the water that evening. He trimmed two wicks, filled a kettle, waited.

Around midnight somebody knocked below. "You're late," said his sister, and shook rain out of her sleeves.

They drank tea until morning, without one word about their father, whose coat still hung behind the door."""


class Judge:
    """A FAKE: it scores by a rule, or has no answer."""

    def __init__(self, rule: Callable[[str], float | None]) -> None:
        self.rule, self.asked = rule, list[str]()

    async def score(self, request: Request, raw: str) -> StoryScore:
        self.asked.append(raw)
        return StoryScore({"quality": self.rule(raw)})


def settings(**guards: object) -> GrpoSettings:
    judge = {"url": "http://fake", "model": "fake"}
    given = {"run_dir": "run", "model": "model", "data": ["data"], "guards": {"probes": 1, "stories": 3} | guards}
    return GrpoSettings.model_validate(given | {"rewards": {"weights": {"quality": 1.0}, "judge": judge}})


def group(scores: Sequence[float | None], text: str = STORY, *, human: float | None = None, number: int = 0) -> Group:
    request = Request(({"role": "user", "content": "Write."},), (1,), None, None, f"Of a person. {text}")
    nothing = np.empty(0, np.int32), np.empty(0, np.float32)
    stories = [Rollout(*nothing, ended=True, text=f"{place}. {text}", policy=0) for place in range(len(scores))]
    human_score = None if human is None else StoryScore({"quality": human})
    return Group(number, request, stories, [StoryScore({"quality": score}) for score in scores], human_score)


def check(
    folder: Path, groups: Sequence[Group], first: Judge, second: Judge | None, step: int = 0, **guards: object
) -> dict[str, float]:
    monitors = Monitors(settings(**guards), first, second, folder)
    return asyncio.run(monitors.check(step, groups))


def test_the_second_judge_reads_the_stories_that_the_first_could_score(tmp_path: Path) -> None:
    second = Judge(lambda text: None if text.startswith("2") else 0.5)
    metrics = check(tmp_path, [group([0.2, None, 0.3, 0.4]), group([0.9], number=1)], Judge(lambda _: 0.0), second)
    assert [text[0] for text in second.asked] == ["0", "2", "3"]  # three, and the one without a score is passed over
    assert metrics["first_judge"] == pytest.approx(0.3)  # of the two that both could score
    assert metrics["second_judge"] == 0.5
    assert metrics["disagreement"] == 0.0


def test_disagreement_is_remembered_over_a_stop(tmp_path: Path) -> None:
    """The first judge's mean rises from 0.2 to 0.6, the second's falls from 0.5 to 0.1. Each check is a process of its own."""
    nobody = Judge(lambda _: 0.0)
    check(tmp_path, [group([0.2])], nobody, Judge(lambda _: 0.5))
    (tmp_path / "checks.jsonl").open("a").write('{"step": 5, "fir')  # a kill
    metrics = check(tmp_path, [group([0.6])], nobody, Judge(lambda _: 0.1), step=10)
    assert metrics["disagreement"] == pytest.approx(0.4)
    # Both worse is no disagreement; what comes later in the file than the step that is checked again does not count.
    assert check(tmp_path, [group([0.1])], nobody, Judge(lambda _: 0.0), step=20)["disagreement"] == 0.0
    assert check(tmp_path, [group([0.3])], nobody, Judge(lambda _: 0.4), step=9)["disagreement"] == pytest.approx(0.1)


def test_checks_of_an_older_run_are_remembered_in_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "looks.jsonl").write_text('{"step": 0, "first": 0.2, "second": 0.5}\n')
    metrics = check(tmp_path, [group([0.6])], Judge(lambda _: 0.0), Judge(lambda _: 0.1), step=10)
    assert metrics["disagreement"] == pytest.approx(0.4)
    assert (tmp_path / "looks.jsonl").read_text().count("\n") == 2
    assert not (tmp_path / "checks.jsonl").exists()


def test_a_file_of_checks_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "checks.jsonl").write_text('{"step": "no"}\n')
    with pytest.raises(MendableError, match=r"checks\.jsonl"):
        check(tmp_path, [group([0.2])], Judge(lambda _: 0.0), None)


def test_a_reward_that_falls_for_flattery_is_found(tmp_path: Path) -> None:
    """This judge gives full marks to whoever asks for them, and sees padding and a missing end."""

    def score(text: str) -> float:
        if ADDRESS in text:
            return 1.0
        return 0.5 - polaris_repetition(text) - abs(len(text) - len(STORY)) / 10_000

    first = Judge(score)
    one = group([0.1, score(STORY)])
    metrics = check(tmp_path, [one], first, None)
    assert len(first.asked) == len(WORSE)
    assert all(text.startswith("1") for text in first.asked)  # the best of the group
    assert metrics["probe_addressed"] > 0.4
    for name in ("padded", "cut_short", "runaway"):
        assert metrics[f"probe_{name}"] < 0, name
    assert set(metrics) == {f"probe_{name}" for name in WORSE}
    guards = Guards(settings(patience=1).guards, lambda _: None)
    with pytest.raises(Halted, match="a text that speaks to its judge"):
        guards.check(0, metrics)


def test_the_human_story_is_what_is_made_worse_where_there_is_one(tmp_path: Path) -> None:
    first = Judge(lambda _: 0.3)
    metrics = check(tmp_path, [group([None, None], human=0.3)], first, None)
    assert all("Of a person." in text for text in first.asked)
    assert set(metrics.values()) == {0.0}


def test_thinking_and_tags_stay_about_a_text_that_is_made_worse(tmp_path: Path) -> None:
    first = Judge(lambda _: 0.0)
    answer = f"<think>\nA lamp.\n</think>\n<answer>\n{STORY}\n</answer>"
    one = group([0.1])
    whole = Group(0, one.request, [Rollout(one.stories[0].tokens, one.stories[0].logprobs, True, answer, 0)], one.scores, None)  # fmt: skip
    check(tmp_path, [whole], first, None)
    assert all(text.startswith("<think>\nA lamp.\n</think>\n<answer>\n") and text.endswith("\n</answer>") for text in first.asked)  # fmt: skip


def test_judges_that_do_not_answer_report_nothing(tmp_path: Path) -> None:
    assert check(tmp_path, [group([0.1])], Judge(lambda _: None), Judge(lambda _: None)) == {}
    assert check(tmp_path, [group([None])], Judge(lambda _: 0.0), Judge(lambda _: 0.0)) == {}
    assert not (tmp_path / "checks.jsonl").exists()


def test_a_judge_that_is_set_up_wrong_ends_the_run(tmp_path: Path) -> None:
    def refuse(_: str) -> float:
        raise MendableError("The key is refused.")

    with pytest.raises(MendableError, match="The key is refused"):
        check(tmp_path, [group([0.1])], Judge(lambda _: 0.0), Judge(refuse))
