"""Settings of the stages that teach a model to use what it is given: other texts, and tools. No torch is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from training.config.declarations import Stage
from training.config.markers import FilledIn, Part
from training.config.settings import Settings
from training.config.teacher import TeacherSettings


class ReferencesSettings(Settings):
    """`python -m training references FILE`: some conversations get a similar passage of another text (Weaver, section 3.5).

    A line stays on its side of the split: `data` become train.jsonl, `held_out` held_out.jsonl.
    """

    recipe: Literal["references"] = "references"
    run_dir: Path
    data: tuple[Path, ...] = Field(min_length=1, description="conversations to train on")
    held_out: tuple[Path, ...] = Field((), description="conversations to measure on")
    corpus: tuple[Path, ...] = Field(min_length=1, description="stories or texts, whose passages are shown")

    share: float = Field(0.1, ge=0, le=1, description="of the conversations that get a passage")
    unhelpful: float = Field(0.2, ge=0, le=1, description="share of those whose passage does not fit")
    passage_words: int = Field(150, ge=20, le=2000, description="of a passage, in whole paragraphs")
    least_similarity: float = Field(0.1, ge=0, le=1, description="cosine of passage and answer, from which on it fits")
    most_similarity: float = Field(0.8, gt=0, le=1, description="above it a passage is taken for a copy")
    unfit_similarity: float = Field(0.03, ge=0, le=1, description="up to it a passage does not fit")
    least_words: int = Field(20, ge=1, le=10_000, description="of an answer that a passage is looked for")
    seed: int = Field(1, ge=0, le=2**31 - 2)

    @model_validator(mode="after")
    def in_order(self) -> ReferencesSettings:
        if not self.unfit_similarity < self.least_similarity < self.most_similarity:
            raise ValueError("unfit_similarity, least_similarity and most_similarity must rise in this order")
        return self


class ToolsSettings(Settings):
    """`python -m training tools FILE`: conversations in which a writing room's tools are called (Weaver, section 3.5)."""

    recipe: Literal["tools"] = "tools"
    run_dir: Path
    data: tuple[Path, ...] = Field(min_length=1, description="stories of `training corpus`, or good texts")
    constitution: Path = Field(description="the principles that a room lists, TOML or JSON")
    teacher: Annotated[TeacherSettings, Part("How the teacher is asked, and what it may cost", 90)]

    samples: int = Field(1000, ge=1, le=10**6, description="conversations to ask for")
    two: float = Field(0.2, ge=0, le=1, description="share of them with two calls, the second after the first's answer")
    refused: float = Field(
        0.1, ge=0, le=1, description="share whose call is refused, as for a chapter that is not there"
    )
    no_tool: float = Field(0.15, ge=0, le=1, description="share that need no tool")
    most_shown: int = Field(6, ge=1, le=20, description="tools that a conversation shows at most")
    chapter_words: int = Field(300, ge=30, le=5000, description="about so many words are a chapter of a room's story")
    most_chapters: int = Field(6, ge=2, le=50, description="of a room's story, which is still being written")
    references: int = Field(4, ge=0, le=20, description="passages of other stories that lie in a room")
    most_answer: int = Field(600, ge=50, le=8000, description="tokens of each answer of the teacher")
    held_out_share: Annotated[float, FilledIn()] = Field(
        0.1, ge=0, le=0.9, description="of authors or prompts, where the data do not say it themselves"
    )
    seed: int = Field(1, ge=0, le=2**31 - 2)

    @model_validator(mode="after")
    def shares_fit(self) -> ToolsSettings:
        if self.two + self.refused + self.no_tool > 1:
            raise ValueError("two, refused and no_tool together are more than 1")
        return self


def _questions_of_tools(settings: Mapping[str, Any], texts: int) -> int:  # noqa: ARG001
    return 2 * int(settings["samples"])


REFERENCES = Stage(
    name="references",
    label="References",
    about="Adds to some conversations a similar passage of another text, so that a model learns to use what it is given (Weaver, section 3.5).",
    settings=ReferencesSettings,
    run="training.instruct.references:references",
    learns_from=("conversations",),
)
TOOLS = Stage(
    name="tools",
    label="Tool calls",
    about="Conversations in which the tools of a writing room are called (Weaver, section 3.5).",
    settings=ToolsSettings,
    run="training.instruct.tools:tools",
    learns_from=("texts",),
    questions=_questions_of_tools,
)
