"""The Story Quality rubric of POLARIS (arXiv 2606.04095): six merits, ten faults, two catch-alls, and the scores of a story.

    overall = P1 + ... + P6 - (N1 + ... + N10) + BONUS - PENALTY

The descriptions are in `rubric.toml` beside this module. People read them in a form, and judge models in their instructions.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from training.common.records import Passage

Label = Literal["very poor", "poor", "fair", "good", "excellent"]
LABELS: tuple[tuple[int, Label], ...] = ((75, "excellent"), (55, "good"), (35, "fair"), (15, "poor"))
"""The lowest overall score of each label, best first; lower scores are very poor."""
NOTE_CHARACTERS = 2_000


class Band(BaseModel):
    """A range of scores, both ends included, and the description of a story in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: int
    high: int
    text: str

    @property
    def span(self) -> str:
        return f"{self.low}" if self.low == self.high else f"{self.low}–{self.high}"


class Dimension(BaseModel):
    """A dimension that a story is scored on, from 0 to `max`: more is better for a merit and worse for a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    name: str
    max: int
    measures: str
    not_here: str
    bands: tuple[Band, Band, Band, Band]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    principles: tuple[str, ...]
    positive: tuple[Dimension, ...]
    negative: tuple[Dimension, ...]
    catch_all: tuple[Dimension, ...]


_FILE = _File.model_validate(tomllib.loads(Path(__file__).with_name("rubric.toml").read_text(encoding="utf-8")))

PRINCIPLES: tuple[str, ...] = _FILE.principles
"""Instructions for the whole sheet, of a sentence or two each."""
POSITIVE: tuple[Dimension, ...] = _FILE.positive
NEGATIVE: tuple[Dimension, ...] = _FILE.negative
DIMENSIONS: tuple[Dimension, ...] = POSITIVE + NEGATIVE
CATCH_ALLS: tuple[Dimension, ...] = _FILE.catch_all
BY_KEY: dict[str, Dimension] = {dimension.key: dimension for dimension in DIMENSIONS + CATCH_ALLS}
_SCORED = {dimension.key for dimension in DIMENSIONS}


def label_of(overall: float) -> Label:
    """Return the label of an overall score, or of a mean of such scores.

    >>> [label_of(score) for score in (-20, 15, 54.9, 75)]
    ['very poor', 'poor', 'fair', 'excellent']
    """
    return next((label for lowest, label in LABELS if overall >= lowest), "very poor")


class Scores(BaseModel):
    """The scores and notes of one story.

    A `ValidationError` has all mistakes, each with its field (`loc`, such as `("scores", "N7")`) and a message for people (`msg`).
    Scores are integers, never strings; blank notes are left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scores: dict[str, int]
    bonus: int
    penalty: int
    notes: dict[str, Passage] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def is_complete(cls, sheet: Any) -> Any:
        if isinstance(sheet, Mapping) and (found := list(_mistakes(sheet))):
            raise ValidationError.from_exception_data(cls.__name__, found)
        return sheet

    @field_validator("notes", mode="before")
    @classmethod
    def leave_out_blank_notes(cls, notes: dict[str, str]) -> dict[str, str]:
        return {key: note for key, note in notes.items() if note.strip()}

    @property
    def positive(self) -> int:
        return sum(self.scores[dimension.key] for dimension in POSITIVE)

    @property
    def negative(self) -> int:
        return sum(self.scores[dimension.key] for dimension in NEGATIVE)

    @property
    def overall(self) -> int:
        """From -159 to 108; a story whose faults outweigh its merits is below 0."""
        return self.positive - self.negative + self.bonus - self.penalty

    @property
    def label(self) -> Label:
        return label_of(self.overall)


def _score_problem(dimension: Dimension, score: object) -> str:
    """Return what is wrong with a score, or ""."""
    if score is None:
        return f"{dimension.key} has no score yet."
    if not isinstance(score, int) or isinstance(score, bool):
        return f"{dimension.key} needs a whole number from 0 to {dimension.max}."
    return "" if 0 <= score <= dimension.max else f"{dimension.key} must be from 0 to {dimension.max}."


def _mistakes(sheet: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
    scores, notes = sheet.get("scores"), sheet.get("notes", {})
    if isinstance(scores, Mapping):
        for dimension in DIMENSIONS:
            score = scores.get(dimension.key)
            yield from _error(_score_problem(dimension, score), score, "scores", dimension.key)
        for key, score in scores.items():
            if key not in _SCORED:
                yield from _error(f"There is no dimension {key} to be scored.", score, "scores", str(key))
    else:
        yield from _error("The sheet has no scores.", scores, "scores")
    for dimension in CATCH_ALLS:
        score = sheet.get(dimension.key.lower())
        yield from _error(_score_problem(dimension, score), score, dimension.key.lower())
    if not isinstance(notes, Mapping):
        yield from _error("The notes must be one text for each dimension.", notes, "notes")
        return
    for key, note in notes.items():
        yield from _error(_note_problem(key, note), note, "notes", str(key))


def _note_problem(key: object, note: object) -> str:
    if key not in BY_KEY:
        return f"There is no dimension {key} to write a note on."
    if not isinstance(note, str):
        return f"The note on {key} is not a text."
    length = len(note.replace("\r\n", "\n").strip())
    if length > NOTE_CHARACTERS:
        return f"The note on {key} has {length:,} characters; the limit is {NOTE_CHARACTERS:,}."
    return ""


def _error(problem: str, value: object, *field: str) -> Iterator[InitErrorDetails]:
    if problem:
        kind = PydanticCustomError("sheet", "{words}", {"words": problem})
        yield InitErrorDetails(type=kind, loc=field, input=value)
