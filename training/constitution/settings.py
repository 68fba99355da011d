"""Settings of the stages that make preferences from principles. No torch is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field

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

    max_texts: int | None = Field(
        None,
        ge=1,
        le=10**7,
        validation_alias=AliasChoices("max_texts", "most_texts"),
        description="good texts to use; empty for all",
    )
    passage_words: int = Field(
        600,
        ge=50,
        le=20_000,
        validation_alias=AliasChoices("passage_words", "words"),
        description="length of the part of a longer text that is changed, in whole paragraphs",
    )
    max_before: int = Field(
        2000,
        ge=0,
        le=20_000,
        validation_alias=AliasChoices("max_before", "most_before"),
        description="words of the text before that part, at most",
    )
    principles_per_question: int = Field(
        24,
        ge=2,
        le=200,
        validation_alias=AliasChoices("principles_per_question", "shown"),
        description="principles that the teacher sees at once",
    )
    rounds: int = Field(
        3,
        ge=1,
        le=10,
        description="in each round, a text without a violation is tried with another principle",
    )
    max_changed_share: float = Field(
        0.25,
        gt=0,
        le=1,
        validation_alias=AliasChoices("max_changed_share", "most_changed"),
        description="share of the words that may be changed",
    )
    max_length_ratio: float = Field(
        1.25,
        ge=1,
        le=10,
        validation_alias=AliasChoices("max_length_ratio", "most_length"),
        description="ratio of the two lengths in words, the longer to the shorter, at most",
    )
    max_answer_tokens: int = Field(
        1500,
        ge=50,
        le=32_000,
        validation_alias=AliasChoices("max_answer_tokens", "most_answer"),
        description="tokens of the answer with the changes",
    )
    held_out_share: Annotated[float, FilledIn()] = Field(
        0.1, ge=0, le=0.9, description="share of authors or prompts to hold out, where the data do not say which"
    )
    seed: int = Field(1, ge=0, le=2**31 - 2)


class Weights(Settings):
    """The weight of each source of pairs, as far as it has enough of them."""

    votes: float = Field(1.0, ge=0, le=1000, description="pairs that editors voted on")
    mended: float = Field(1.0, ge=0, le=1000, description="passages before and after an editor's correction")
    violations: float = Field(1.0, ge=0, le=1000, description="good texts and their minimal violations")
    choices: float = Field(0.5, ge=0, le=1000, description="writers' own choices between takes")
    imported: float = Field(0.5, ge=0, le=1000, description="imported preferences")


class Mix(Settings):
    """Pairs of several sources, sampled by weight and balanced over principles and lengths."""

    weights: Weights = Weights()
    rows: int | None = Field(None, ge=1, le=10**8, description="pairs in all; empty for as many as there are")
    max_repeats: int = Field(
        2,
        ge=1,
        le=20,
        validation_alias=AliasChoices("max_repeats", "repeats"),
        description="how often a pair of a small source is taken at most",
    )


class PairsSettings(Mix):
    """`python -m training pairs FILE`: preferences from several sources, mixed by weight, balanced over principles and lengths."""

    recipe: Literal["pairs"] = "pairs"
    run_dir: Path
    data: tuple[Path, ...] = Field(min_length=1, description="preferences, each with its `source`")
    held_out: tuple[Path, ...] = Field((), description="preferences to evaluate on, used unchanged")
    seed: int = Field(1, ge=0, le=2**31 - 2)


def _questions_of_violations(settings: Mapping[str, Any], texts: int) -> int:
    """For each text the question which principles it follows, and in each round a change and its judgement."""
    return min(texts, settings["max_texts"] or texts) * (1 + 2 * int(settings["rounds"]))


VIOLATIONS = Stage(
    name="violations",
    label="Minimal violations",
    about="Makes from good texts the smallest changes by which they break a principle, for editors to review (Weaver, section 3.4).",
    settings=ViolationsSettings,
    run="training.constitution.violations:violations",
    learns_from=("texts", "conversations"),
    from_snapshots=True,
    produces="violations",
    questions=_questions_of_violations,
)
PAIRS = Command(
    name="pairs",
    about="Mixes preferences from several sources by weight, balanced over principles and lengths.",
    settings=PairsSettings,
    run="training.constitution.pairs:pairs",
)
