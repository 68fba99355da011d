"""The shapes of a teacher's answers. The reason comes first, so that the teacher thinks before it chooses (Weaver's chain of thought).

Long fields are bounded by a validator and not in the schema, since a server's grammar would unroll a bound of that size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from training.common.tasks import Shape

MAX_CHARACTERS = 60_000
MAX_INSTRUCTION = 1500


def _bounded(text: str) -> str:
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"it has more than {MAX_CHARACTERS:,} characters")
    return text


Long = Annotated[str, Field(min_length=1), AfterValidator(_bounded)]
Instruction = Annotated[str, Field(min_length=1, max_length=MAX_INSTRUCTION)]
Short = Annotated[str, Field(min_length=1, max_length=400)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    because: str = Field(min_length=1, max_length=600)


class Request(_Answer):
    """A request that the text answers, with nothing else."""

    instruction: Instruction

    @property
    def written(self) -> str:
        """What the teacher wrote beside the instruction: the context of the request, or the answer."""
        return ""


class RequestWithContext(_Answer):
    """A request that the text answers, and the context that its writer started from."""

    context: Long
    instruction: Instruction

    @property
    def written(self) -> str:
        return self.context.strip()


class RequestWithOutput(_Answer):
    """A request about the text, and the teacher's answer to it."""

    output: Long
    instruction: Instruction

    @property
    def written(self) -> str:
        return self.output.strip()


class RequestWithQuotedOutput(_Answer):
    """A request about the text, and an answer that quotes the text."""

    quotes: list[Short] = Field(min_length=1, max_length=6)
    output: Long
    instruction: Instruction

    @property
    def written(self) -> str:
        return self.output.strip()


class RequestWithItems(_Answer):
    """A request about the text, and an answer that is a list."""

    items: list[Short] = Field(min_length=3, max_length=8)
    instruction: Instruction

    @property
    def written(self) -> str:
        return "\n".join(f"{number}. {item.strip()}" for number, item in enumerate(self.items, 1))


TaskAnswer = Request | RequestWithContext | RequestWithOutput | RequestWithQuotedOutput | RequestWithItems
SHAPES: Mapping[Shape, type[TaskAnswer]] = {
    "request": Request,
    "context": RequestWithContext,
    "output": RequestWithOutput,
    "quoted_output": RequestWithQuotedOutput,
    "items": RequestWithItems,
}
"""The answer for each shape that an entry of `training.common.tasks` may name."""


class Plan(BaseModel):
    """What a writer thinks before the first line."""

    model_config = ConfigDict(extra="forbid")

    thinking: Long


class Score(_Answer):
    """The second judgement of an exercise; scores are 1 to 5."""

    quality: int = Field(ge=1, le=5)
    relevance: int = Field(ge=1, le=5)
    worth: int = Field(ge=1, le=5)
    reveals_ending: bool

    @property
    def mean(self) -> float:
        return round((self.quality + self.relevance + self.worth) / 3, 2)
