"""Settings of the stages that make conversations to fine-tune on. No torch is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, model_validator

from training.common.tasks import TASKS, TaskKey
from training.config.declarations import Stage
from training.config.markers import FilledIn, Part
from training.config.settings import Settings
from training.config.teacher import TeacherSettings


class BacktranslateSettings(Settings):
    """`python -m training backtranslate FILE`: requests that good texts answer, over the writing tasks (Weaver, section 3.3; POLARIS' prompts)."""

    recipe: Literal["backtranslate"] = "backtranslate"
    run_dir: Path
    data: tuple[Path, ...] = Field(
        min_length=1, description="conversations that end with a good text, or stories of `training corpus`"
    )
    teacher: Annotated[TeacherSettings, Part("How the teacher is asked, and what it may cost", 90)]

    tasks: tuple[TaskKey, ...] = Field(
        default_factory=lambda: tuple(TASKS),
        min_length=1,
        description="each text is tried for each of these writing tasks",
    )
    max_texts: int | None = Field(
        None,
        ge=1,
        le=10**7,
        validation_alias=AliasChoices("max_texts", "most_texts"),
        description="good texts to use; empty for all",
    )
    min_words: int = Field(
        40,
        ge=1,
        le=2000,
        validation_alias=AliasChoices("min_words", "least_words"),
        description="the shortest text or passage for which a request is sought",
    )
    passage_words: int = Field(
        400,
        ge=20,
        le=2000,
        validation_alias=AliasChoices("passage_words", "words"),
        description="length of the passage taken from a longer text, in whole paragraphs",
    )
    max_words: int = Field(
        4000,
        ge=100,
        le=20_000,
        validation_alias=AliasChoices("max_words", "most_words"),
        description="the longest text for tasks that need it whole, such as write and outline",
    )
    thinking: bool = Field(
        True, description="add to each story the plan that a writer would have made before writing it"
    )
    thinking_in_answer: bool = Field(
        False,
        description="put the plan into the answer too, as LongWriter-Zero's <think>…</think><answer>…</answer>",
    )
    max_answer_tokens: int = Field(
        4096,
        ge=50,
        le=32_000,
        validation_alias=AliasChoices("max_answer_tokens", "most_answer"),
        description="tokens of an answer that holds a text or a plan",
    )
    min_score: int = Field(
        3,
        ge=1,
        le=5,
        validation_alias=AliasChoices("min_score", "least_score"),
        description="the lowest accepted score for quality and for relevance, 1 to 5",
    )
    keep_share: float = Field(
        0.8, gt=0, le=1, description="share of each task's rows in each domain to keep, the best first"
    )
    keep_max: int | None = Field(
        None,
        ge=1,
        le=10**7,
        validation_alias=AliasChoices("keep_max", "keep_most"),
        description="rows of each task in each domain to keep at most; empty for no limit",
    )
    max_similarity: float = Field(
        0.5,
        gt=0,
        le=1,
        validation_alias=AliasChoices("max_similarity", "most_alike"),
        description="Jaccard similarity of three-word shingles at which the worse of two instructions is rejected",
    )
    held_out_share: Annotated[float, FilledIn()] = Field(
        0.1, ge=0, le=0.9, description="share of authors or prompts to hold out, where the data do not say which"
    )
    seed: int = Field(1, ge=0, le=2**31 - 10)

    @model_validator(mode="after")
    def parts_fit(self) -> BacktranslateSettings:
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError("tasks names one twice")
        if self.thinking_in_answer and not self.thinking:
            raise ValueError("thinking_in_answer needs thinking")
        return self


def _questions(settings: Mapping[str, Any], texts: int) -> int:
    """For each text and task a request and a score, and for a story also a plan, at most twice."""
    tasks = settings["tasks"]
    planned = [task for task in tasks if settings["thinking"] and TASKS[task].composes]
    return min(texts, settings["max_texts"] or texts) * 2 * (len(tasks) + len(planned))


BACKTRANSLATE = Stage(
    name="backtranslate",
    label="Instruction back-translation",
    about="Finds for good texts the requests that they answer, for each of the writing tasks (Weaver, section 3.3).",
    settings=BacktranslateSettings,
    run="training.instruct.backtranslate:backtranslate",
    learns_from=("texts", "conversations"),
    questions=_questions,
)
