"""Settings of the stages that make preferences from principles. No torch is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from training.config.declarations import Command, Stage
from training.config.markers import FilledIn, Part
from training.config.settings import Settings
from training.config.teacher import TeacherSettings


class ViolationsSettings(Settings):
    """`python -m training violations FILE`: good texts, each with the smallest change by which it breaks a principle (Weaver, section 3.4)."""

    recipe: Literal["violations"] = "violations"
    run_dir: Path
    data: tuple[Path, ...] = Field(
        min_length=1, description="conversations that end with a good text, or stories of `training corpus`"
    )
    constitution: Path = Field(description="the principles in force, TOML or JSON")
    teacher: Annotated[TeacherSettings, Part("How the teacher is asked, and what it may cost", 90)]

    most_texts: int | None = Field(None, ge=1, le=10**7, description="good texts; empty: all")
    words: int = Field(
        600, ge=50, le=20_000, description="of the part of a longer text that is changed, in whole paragraphs"
    )
    most_before: int = Field(
        2000, ge=0, le=20_000, description="words of the text that stand before that part, at most"
    )
    shown: int = Field(24, ge=2, le=200, description="principles that are put before the teacher at once")
    rounds: int = Field(
        3, ge=1, le=10, description="in each, texts that have no violation yet are asked about another principle"
    )
    most_changed: float = Field(0.25, gt=0, le=1, description="share of the words that an example may differ in")
    most_length: float = Field(
        1.25, ge=1, le=10, description="how many times as long, or as short, the changed text may be"
    )
    most_answer: int = Field(1500, ge=50, le=32_000, description="tokens of the answer with the changes")
    held_out_share: Annotated[float, FilledIn()] = Field(
        0.1, ge=0, le=0.9, description="of authors or prompts, where the data do not say it themselves"
    )
    seed: int = Field(1, ge=0, le=2**31 - 2)


class Weights(Settings):
    """How much of the pairs comes from each source, as far as there are enough."""

    votes: float = Field(1.0, ge=0, le=1000, description="pairs that editors voted on")
    mended: float = Field(1.0, ge=0, le=1000, description="passages as written and as mended")
    violations: float = Field(1.0, ge=0, le=1000, description="good texts and their minimal violations")
    choices: float = Field(0.5, ge=0, le=1000, description="writers' own choices between takes")
    imported: float = Field(0.5, ge=0, le=1000, description="preferences from elsewhere")


class Mix(Settings):
    """Pairs of several sources are taken by weight, balanced over principles and lengths."""

    weights: Weights = Weights()
    rows: int | None = Field(None, ge=1, le=10**8, description="pairs in all; empty: as many as there are")
    repeats: int = Field(2, ge=1, le=20, description="times that a pair of a small source is taken at most")


class PairsSettings(Mix):
    """`python -m training pairs FILE`: preferences from several sources, mixed by weights, balanced over principles and lengths."""

    recipe: Literal["pairs"] = "pairs"
    run_dir: Path
    data: tuple[Path, ...] = Field(min_length=1, description="preferences, each with its `source`")
    held_out: tuple[Path, ...] = Field((), description="what is measured on: it stays as it is")
    seed: int = Field(1, ge=0, le=2**31 - 2)


def _questions_of_violations(settings: Mapping[str, Any], texts: int) -> int:
    """For each text which principles fit it, and in each round a change and a judgement of it."""
    return min(texts, settings["most_texts"] or texts) * (1 + 2 * int(settings["rounds"]))


VIOLATIONS = Stage(
    name="violations",
    label="Minimal violations",
    about="Good texts, each with the smallest change by which it breaks a principle. Editors look at them first (Weaver, section 3.4).",
    settings=ViolationsSettings,
    run="training.constitution.violations:violations",
    learns_from=("texts", "conversations"),
    from_snapshots=True,
    produces="violations",
    questions=_questions_of_violations,
)
PAIRS = Command(
    name="pairs",
    about="Mixes preferences from several sources in stated proportions, balanced over principles and lengths.",
    settings=PairsSettings,
    run="training.constitution.pairs:pairs",
)
