"""The report of a version on made-up facts, whose figures can be worked out by hand."""

from __future__ import annotations

import math

import pytest

from training.common.records import Figure, VersionReport
from training.evaluate.served import Scored, Written
from training.evaluate.version import Facts, Pair, assignments, build_report

CONTEXT = 2048


def story(words: int, *, ended: bool = True) -> Written:
    return Written(" ".join(f"w{number}" for number in range(words)), words, ended)


def figures(report: VersionReport) -> dict[str, Figure]:
    return {figure.name: figure for figure in report.figures}


@pytest.fixture
def half() -> VersionReport:
    """A version that writes half of what is asked, beside one that writes all of it."""
    asked = assignments(CONTEXT, each=3)
    own = Facts([story(one.target // 2) for one in asked], overlaps=[0.0] * len(asked))
    beside = Facts([story(one.target) for one in asked], overlaps=[0.0] * len(asked))
    return build_report(asked, CONTEXT, own, beside)


def test_half_the_words(half: VersionReport) -> None:
    found = figures(half)
    assert found["words_ratio"].own is not None
    assert found["words_ratio"].own.value == pytest.approx(0.5, abs=0.01)
    assert found["words_error"].change is not None
    assert found["words_error"].change.value == pytest.approx(math.log(2), abs=0.02)
    assert found["words_error"].worse
    assert [figure.name for figure in half.worse] == ["words_error"]
    assert [row.stories for row in half.buckets] == [3] * 6
    assert all(row.beside == pytest.approx(1, abs=0.01) for row in half.buckets)
    assert half.scaled
    assert half.sampling == "temperature 0.8, min-p 0.05"


def test_a_version_beside_itself_is_not_worse() -> None:
    asked = assignments(CONTEXT, each=3)
    facts = Facts([story(one.target) for one in asked])
    report = build_report(asked, CONTEXT, facts, facts)
    assert report.worse == []
    change = figures(report)["words_error"].change
    assert change is not None
    assert (change.value, change.low, change.high) == (0, 0, 0)


def test_the_slope_is_that_of_the_table() -> None:
    asked = assignments(CONTEXT, each=2)
    own = Facts([story(round(one.target * (1 - 0.05 * (number // 2)))) for number, one in enumerate(asked)])
    found = figures(build_report(asked, CONTEXT, own, None))["words_slope"]
    assert found.own is not None
    assert found.own.value == pytest.approx(-0.05, abs=0.003)
    assert found.change is None


def test_held_out_judgement() -> None:
    asked = assignments(CONTEXT, each=1)
    stories = [story(200) for _ in asked]
    likes, dislikes = Scored(100, 100, 80), Scored(300, 100, 80)
    pairs = [Pair(likes, dislikes)] * 3 + [Pair(dislikes, likes)]
    parent = [Pair(Scored(200, 100, 80), Scored(300, 100, 80))] * 3 + [Pair(Scored(250, 100, 80), Scored(100, 100, 80))]
    found = figures(build_report(asked, CONTEXT, Facts(stories, pairs, parent), None))
    assert found["prefers"].own is not None
    assert found["prefers"].own.value == 0.75
    # towards the preferred text in the first three (100 nats against none), away from it in the last (-50 against none)
    assert found["moved"].own is not None
    assert found["moved"].own.value == 0.75
    assert found["perplexity"].own is not None
    assert found["perplexity"].own.value == pytest.approx(math.exp((3 * 100 + 300) / (4 * 80)))


def test_what_was_not_measured_says_so() -> None:
    asked = assignments(CONTEXT, each=1)
    found = figures(build_report(asked, CONTEXT, Facts([story(200) for _ in asked]), None))
    assert found["prefers"].own is None
    assert "no held-out pairs" in found["prefers"].note
    assert "does not have" in found["overlap"].note


def test_a_story_of_nothing_is_measured_too() -> None:
    asked = assignments(CONTEXT, each=1)
    report = build_report(
        asked, CONTEXT, Facts([Written("", 0, True) for _ in asked]), Facts([story(100) for _ in asked])
    )
    assert figures(report)["words_error"].worse
    VersionReport.model_validate_json(report.model_dump_json())
