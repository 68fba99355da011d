"""The rubric has POLARIS' numbers, and the mistakes of a sheet are explained."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from training.common.rubric import (
    BY_KEY,
    CATCH_ALLS,
    DIMENSIONS,
    NEGATIVE,
    POSITIVE,
    PRINCIPLES,
    Dimension,
    Scores,
    label_of,
)

# The bands of the paper (arXiv 2606.04095).
TABLE = {
    "P1": (15, "0–4 / 5–9 / 10–12 / 13–15"),
    "P2": (20, "0–5 / 6–11 / 12–16 / 17–20"),
    "P3": (15, "0–4 / 5–8 / 9–12 / 13–15"),
    "P4": (15, "0–4 / 5–8 / 9–12 / 13–15"),
    "P5": (20, "0–5 / 6–11 / 12–16 / 17–20"),
    "P6": (15, "0–4 / 5–8 / 9–12 / 13–15"),
    "N1": (15, "0 / 1–5 / 6–10 / 11–15"),
    "N2": (20, "0–4 / 5–10 / 11–16 / 17–20"),
    "N3": (15, "0–3 / 4–7 / 8–11 / 12–15"),
    "N4": (15, "0–3 / 4–7 / 8–11 / 12–15"),
    "N5": (15, "0–3 / 4–7 / 8–11 / 12–15"),
    "N6": (20, "0–4 / 5–9 / 10–14 / 15–20"),
    "N7": (15, "0 / 1–5 / 6–10 / 11–15"),
    "N8": (8, "0–1 / 2–4 / 5–6 / 7–8"),
    "N9": (8, "0–1 / 2–4 / 5–6 / 7–8"),
    "N10": (20, "0–4 / 5–9 / 10–14 / 15–20"),
    "BONUS": (8, "0 / 1–2 / 3–5 / 6–8"),
    "PENALTY": (8, "0 / 1–2 / 3–5 / 6–8"),
}
ALL = DIMENSIONS + CATCH_ALLS
every_dimension = pytest.mark.parametrize("dimension", ALL, ids=lambda dimension: dimension.key)


def sheet(*, positive: bool = False, negative: bool = False, **other: Any) -> dict[str, Any]:
    """A sheet with 0 or the maximum for all merits, and for all faults."""
    full = {dimension.key: dimension.max * positive for dimension in POSITIVE}
    full |= {dimension.key: dimension.max * negative for dimension in NEGATIVE}
    return {"scores": full, "bonus": 0, "penalty": 0, **other}


def refused(given: object) -> dict[tuple[int | str, ...], str]:
    with pytest.raises(ValidationError) as caught:
        Scores.model_validate(given)
    return {error["loc"]: error["msg"] for error in caught.value.errors()}


def with_score(key: str, score: object) -> dict[str, Any]:
    given = sheet()
    given["scores"][key] = score
    return given


def test_the_numbers_are_those_of_polaris() -> None:
    ours = {dimension.key: (dimension.max, " / ".join(band.span for band in dimension.bands)) for dimension in ALL}
    assert ours == TABLE
    assert list(ours) == list(TABLE)
    assert list(BY_KEY) == list(TABLE)
    assert (len(POSITIVE), len(NEGATIVE), len(DIMENSIONS)) == (6, 10, 16)
    assert sum(dimension.max for dimension in POSITIVE) == 100
    assert sum(dimension.max for dimension in NEGATIVE) == 151


@every_dimension
def test_the_bands_cover_every_score_once(dimension: Dimension) -> None:
    covered = [score for band in dimension.bands for score in range(band.low, band.high + 1)]
    assert covered == list(range(dimension.max + 1))


def test_every_dimension_has_texts_of_its_own() -> None:
    words = [text for one in ALL for text in (one.name, one.measures, one.not_here, *(band.text for band in one.bands))]
    words += PRINCIPLES
    assert len(words) == len(set(words)) == 18 * 7 + len(PRINCIPLES)
    assert all(text == text.strip() and "\n" not in text and "  " not in text for text in words)
    assert all(text.endswith(".") for text in words if text not in {dimension.name for dimension in ALL})


@every_dimension
def test_the_dimensions_that_are_referred_to_exist(dimension: Dimension) -> None:
    named = set(re.findall(r"\b[PN]\d+\b", dimension.not_here)) - {dimension.key}
    assert named
    assert named <= set(BY_KEY)


def test_the_rubric_does_not_mention_the_requested_length() -> None:
    said = " ".join([*PRINCIPLES, *(str(dimension.model_dump()) for dimension in ALL)])
    assert not re.search(r"\b(length|lengthy|word count|number of words|too (long|short))\b", said)


def test_the_extremes_of_the_overall_score() -> None:
    best = Scores.model_validate(sheet(positive=True, bonus=8))
    worst = Scores.model_validate(sheet(negative=True, penalty=8))
    assert (best.positive, best.negative, best.overall, best.label) == (100, 0, 108, "excellent")
    assert (worst.positive, worst.negative, worst.overall, worst.label) == (0, 151, -159, "very poor")


def test_the_overall_score_is_a_plain_sum() -> None:
    given = sheet(bonus=2, penalty=1)
    given["scores"] |= {"P1": 10, "P2": 15, "P5": 12, "N3": 4, "N10": 6}
    scores = Scores.model_validate(given)
    assert (scores.positive, scores.negative, scores.overall, scores.label) == (37, 10, 28, "poor")


@pytest.mark.parametrize(
    ("overall", "label"),
    [
        (-159, "very poor"),
        (14, "very poor"),
        (15, "poor"),
        (34, "poor"),
        (35, "fair"),
        (54, "fair"),
        (55, "good"),
        (74, "good"),
        (75, "excellent"),
        (108, "excellent"),
    ],
)
def test_labels_at_their_bounds(overall: int, label: str) -> None:
    assert label_of(overall) == label


def test_a_sheet_is_the_same_after_writing_and_reading() -> None:
    scores = Scores.model_validate(sheet(positive=True, notes={"P4": "Keep the herrings.", "BONUS": "None."}))
    assert Scores.model_validate_json(scores.model_dump_json()) == scores
    with pytest.raises(ValidationError, match="frozen"):
        scores.bonus = 8  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "place", "words"),
    [
        (with_score("N7", 16), ("scores", "N7"), "N7 must be from 0 to 15."),
        (with_score("N7", -1), ("scores", "N7"), "N7 must be from 0 to 15."),
        (with_score("P2", 21), ("scores", "P2"), "P2 must be from 0 to 20."),
        (with_score("P2", 7.0), ("scores", "P2"), "P2 needs a whole number from 0 to 20."),
        (with_score("P2", "7"), ("scores", "P2"), "P2 needs a whole number from 0 to 20."),
        (with_score("P2", True), ("scores", "P2"), "P2 needs a whole number from 0 to 20."),
        (with_score("P2", None), ("scores", "P2"), "P2 has no score yet."),
        (with_score("N11", 1), ("scores", "N11"), "There is no dimension N11 to be scored."),
        (with_score("BONUS", 1), ("scores", "BONUS"), "There is no dimension BONUS to be scored."),
        (with_score("{P1}", 1), ("scores", "{P1}"), "There is no dimension {P1} to be scored."),
        (sheet(scores=None), ("scores",), "The sheet has no scores."),
        (sheet(bonus=9), ("bonus",), "BONUS must be from 0 to 8."),
        (sheet(penalty=None), ("penalty",), "PENALTY has no score yet."),
        (sheet(notes=["fine"]), ("notes",), "The notes must be one text for each dimension."),
        (sheet(notes={"P9": "x"}), ("notes", "P9"), "There is no dimension P9 to write a note on."),
        (sheet(notes={"P3": 3}), ("notes", "P3"), "The note on P3 is not a text."),
        (
            sheet(notes={"P3": "x" * 2001}),
            ("notes", "P3"),
            "The note on P3 has 2,001 characters; the limit is 2,000.",
        ),
    ],
)
def test_a_mistake_is_explained(given: dict[str, Any], place: tuple[str, ...], words: str) -> None:
    assert refused(given) == {place: words}


def test_all_mistakes_are_reported_together() -> None:
    told = refused({})
    assert list(told.values()) == ["The sheet has no scores.", "BONUS has no score yet.", "PENALTY has no score yet."]
    told = refused({"scores": {"P1": 16}, "bonus": 0, "penalty": 9})
    assert len(told) == 17
    assert told["scores", "P1"] == "P1 must be from 0 to 15."
    assert told["scores", "N10"] == "N10 has no score yet."
    assert told[("penalty",)] == "PENALTY must be from 0 to 8."


def test_unknown_fields_are_refused() -> None:
    assert list(refused(sheet(author="Edie"))) == [("author",)]
    assert list(refused("a sheet")) == [()]


def test_notes_are_stripped() -> None:
    notes = {"P1": "  The key is used twice.\r\nGood. ", "P2": " \n", "N7": "é" * 2000}
    assert Scores.model_validate(sheet(notes=notes)).notes == {
        "P1": "The key is used twice.\nGood.",
        "N7": "é" * 2000,
    }
    (words,) = refused(sheet(notes={"P1": "a\x00b"})).values()
    assert "control character (U+0000, number 2" in words
