"""Settings of the stages that make conversations to fine-tune on. No torch is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from training.common.records import Task
from training.config.declarations import Stage
from training.config.markers import FilledIn, Part
from training.config.settings import Settings
from training.config.teacher import TeacherSettings

ALL_TASKS: tuple[Task, ...] = get_args(Task)


class BacktranslateSettings(Settings):
    """`python -m training backtranslate FILE`: good texts, each with the requests that it answers (Weaver, section 3.3; POLARIS' prompts)."""

    recipe: Literal["backtranslate"] = "backtranslate"
    run_dir: Path
    data: tuple[Path, ...] = Field(
        min_length=1, description="conversations that end with a good text, or stories of `training corpus`"
    )
    teacher: Annotated[TeacherSettings, Part("How the teacher is asked, and what it may cost", 90)]

    tasks: tuple[Task, ...] = Field(ALL_TASKS, min_length=1, description="of Weaver's ten; each text is tried for each")
    most_texts: int | None = Field(None, ge=1, le=10**7, description="good texts; empty: all")
    least_words: int = Field(
        40, ge=1, le=2000, description="of a text or passage; from a shorter one no request can be told"
    )
    words: int = Field(400, ge=20, le=2000, description="of the passage of a longer text, in whole paragraphs")
    most_words: int = Field(
        4000, ge=100, le=20_000, description="of a whole text, for tasks that need it whole: write, outline"
    )
    thinking: bool = Field(True, description="a story comes with the plan that a writer would have made before it")
    thinking_in_answer: bool = Field(
        False,
        description="the plan also stands in a story's answer, as LongWriter-Zero's <think>…</think><answer>…</answer>",
    )
    most_answer: int = Field(4096, ge=50, le=32_000, description="tokens of an answer that holds a text or a plan")
    least_score: int = Field(3, ge=1, le=5, description="for quality and relevance, out of 5")
    keep_share: float = Field(0.8, gt=0, le=1, description="of each task's rows in each domain, the best")
    keep_most: int | None = Field(None, ge=1, le=10**7, description="of each task's rows in each domain; empty: all")
    most_alike: float = Field(
        0.5, gt=0, le=1, description="Jaccard of two instructions' runs of three words, from which the lower goes"
    )
    held_out_share: Annotated[float, FilledIn()] = Field(
        0.1, ge=0, le=0.9, description="of authors or prompts, where the data do not say it themselves"
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
    """For each text and task a request and a score; for a story also a plan, perhaps twice."""
    tasks = settings["tasks"]
    each = 2 * len(tasks) + 2 * bool(settings["thinking"] and "write" in tasks)
    return min(texts, settings["most_texts"] or texts) * each


BACKTRANSLATE = Stage(
    name="backtranslate",
    label="Instruction back-translation",
    about="Finds for good texts the requests that they answer, for each of the writing tasks (Weaver, section 3.3).",
    settings=BacktranslateSettings,
    run="training.instruct.backtranslate:backtranslate",
    learns_from=("texts", "conversations"),
    questions=_questions,
)
