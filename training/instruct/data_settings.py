"""Settings of the stages that teach a model to use references and tools. No torch is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, model_validator

from training.config.declarations import Stage
from training.config.markers import FilledIn, Part
from training.config.settings import Settings
from training.config.teacher import TeacherSettings


class ReferencesSettings(Settings):
    """`python -m training references FILE`: conversations, some of them with a similar passage of another text (Weaver, section 3.5).

    Each row stays on its side of the split: `data` becomes train.jsonl, `held_out` becomes held_out.jsonl.
    """

    recipe: Literal["references"] = "references"
    run_dir: Path
    data: tuple[Path, ...] = Field(min_length=1, description="conversations to train on")
    held_out: tuple[Path, ...] = Field((), description="conversations to evaluate on")
    corpus: tuple[Path, ...] = Field(min_length=1, description="stories or texts from which passages are taken")

    share: float = Field(0.1, ge=0, le=1, description="share of the conversations that get a passage")
    irrelevant_share: float = Field(
        0.2,
        ge=0,
        le=1,
        validation_alias=AliasChoices("irrelevant_share", "unhelpful"),
        description="share of those whose passage is irrelevant on purpose",
    )
    passage_words: int = Field(150, ge=20, le=2000, description="length of a passage, in whole paragraphs")
    min_similarity: float = Field(
        0.1,
        ge=0,
        le=1,
        validation_alias=AliasChoices("min_similarity", "least_similarity"),
        description="cosine similarity of passage and answer from which a passage is relevant",
    )
    max_similarity: float = Field(
        0.8,
        gt=0,
        le=1,
        validation_alias=AliasChoices("max_similarity", "most_similarity"),
        description="similarity above which a passage is taken for a copy of the answer",
    )
    irrelevant_similarity: float = Field(
        0.03,
        ge=0,
        le=1,
        validation_alias=AliasChoices("irrelevant_similarity", "unfit_similarity"),
        description="similarity up to which a passage is irrelevant",
    )
    min_words: int = Field(
        20,
        ge=1,
        le=10_000,
        validation_alias=AliasChoices("min_words", "least_words"),
        description="the shortest answer for which a passage is sought",
    )
    seed: int = Field(1, ge=0, le=2**31 - 2)

    @model_validator(mode="after")
    def in_order(self) -> ReferencesSettings:
        if not self.irrelevant_similarity < self.min_similarity < self.max_similarity:
            raise ValueError("irrelevant_similarity, min_similarity and max_similarity must increase in this order")
        return self


class ToolsSettings(Settings):
    """`python -m training tools FILE`: conversations in which the tools of a writing room are called (Weaver, section 3.5)."""

    recipe: Literal["tools"] = "tools"
    run_dir: Path
    data: tuple[Path, ...] = Field(min_length=1, description="stories of `training corpus`, or good texts")
    constitution: Path = Field(description="the principles that the room's tool lists, TOML or JSON")
    teacher: Annotated[TeacherSettings, Part("How the teacher is asked, and what it may cost", 90)]

    samples: int = Field(1000, ge=1, le=10**6, description="conversations to ask for")
    two_calls_share: float = Field(
        0.2,
        ge=0,
        le=1,
        validation_alias=AliasChoices("two_calls_share", "two"),
        description="share with two calls, the second following from the first one's result",
    )
    error_share: float = Field(
        0.1,
        ge=0,
        le=1,
        validation_alias=AliasChoices("error_share", "refused"),
        description="share whose call fails, such as one for a chapter that does not exist",
    )
    no_tool_share: float = Field(
        0.15,
        ge=0,
        le=1,
        validation_alias=AliasChoices("no_tool_share", "no_tool"),
        description="share that needs no tool",
    )
    max_tools: int = Field(
        6,
        ge=1,
        le=20,
        validation_alias=AliasChoices("max_tools", "most_shown"),
        description="tools that a conversation offers at most",
    )
    chapter_words: int = Field(300, ge=30, le=5000, description="approximate length of a chapter of the room's story")
    max_chapters: int = Field(
        6,
        ge=2,
        le=50,
        validation_alias=AliasChoices("max_chapters", "most_chapters"),
        description="chapters of the room's story written so far, at most",
    )
    references: int = Field(4, ge=0, le=20, description="passages of other stories in a room")
    max_answer_tokens: int = Field(
        600,
        ge=50,
        le=8000,
        validation_alias=AliasChoices("max_answer_tokens", "most_answer"),
        description="tokens of each answer of the teacher",
    )
    held_out_share: Annotated[float, FilledIn()] = Field(
        0.1, ge=0, le=0.9, description="share of authors or prompts to hold out, where the data do not say which"
    )
    seed: int = Field(1, ge=0, le=2**31 - 2)

    @model_validator(mode="after")
    def shares_fit(self) -> ToolsSettings:
        if self.two_calls_share + self.error_share + self.no_tool_share > 1:
            raise ValueError("two_calls_share, error_share and no_tool_share add up to more than 1")
        return self


def _questions_of_tools(settings: Mapping[str, Any], texts: int) -> int:  # noqa: ARG001
    """For each conversation the user's message and the answer."""
    return 2 * int(settings["samples"])


REFERENCES = Stage(
    name="references",
    label="References",
    about="Adds to some conversations a similar passage of another text, so that a model learns to use references (Weaver, section 3.5).",
    settings=ReferencesSettings,
    run="training.instruct.references:references",
    learns_from=("conversations",),
)
TOOLS = Stage(
    name="tools",
    label="Tool calls",
    about="Makes conversations in which the tools of a writing room are called (Weaver, section 3.5).",
    settings=ToolsSettings,
    run="training.instruct.tools:tools",
    learns_from=("texts",),
    questions=_questions_of_tools,
)
