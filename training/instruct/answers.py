"""The shapes of a teacher's answers. The reason comes first: the teacher thinks before it chooses (Weaver's chain of thought).

`made` is what the teacher wrote beside the instruction: the context, or the answer of the row. What may be as long as a passage is bounded by a validator, not in the schema: a server's grammar would unroll a bound of that size.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MOST_CHARACTERS = 60_000
MOST_INSTRUCTION = 1500


def _bounded(text: str) -> str:
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"it has more than {MOST_CHARACTERS:,} characters")
    return text


Long = Annotated[str, Field(min_length=1), AfterValidator(_bounded)]
Instruction = Annotated[str, Field(min_length=1, max_length=MOST_INSTRUCTION)]
Short = Annotated[str, Field(min_length=1, max_length=400)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    because: str = Field(min_length=1, max_length=600)


class Request(_Answer):
    """The text is the answer, and nothing else is given."""

    instruction: Instruction

    @property
    def made(self) -> str:
        return ""


class Beside(_Answer):
    """The text is the answer; `context` is what its writer would have had before."""

    context: Long
    instruction: Instruction

    @property
    def made(self) -> str:
        return self.context.strip()


class Written(_Answer):
    """An answer that was written from the text."""

    output: Long
    instruction: Instruction

    @property
    def made(self) -> str:
        return self.output.strip()


class Quoting(_Answer):
    """Likewise, with words of the text in it."""

    quotes: list[Short] = Field(min_length=1, max_length=6)
    output: Long
    instruction: Instruction

    @property
    def made(self) -> str:
        return self.output.strip()


class Listing(_Answer):
    """Likewise, as a list."""

    items: list[Short] = Field(min_length=3, max_length=8)
    instruction: Instruction

    @property
    def made(self) -> str:
        return "\n".join(f"{number}. {item.strip()}" for number, item in enumerate(self.items, 1))


Found = Request | Beside | Written | Quoting | Listing


class Plan(BaseModel):
    """What a writer thinks before the first line."""

    model_config = ConfigDict(extra="forbid")

    thinking: Long


class Score(_Answer):
    quality: int = Field(ge=1, le=5)
    relevance: int = Field(ge=1, le=5)
    worth: int = Field(ge=1, le=5)
    gives_away: bool

    @property
    def mean(self) -> float:
        return round((self.quality + self.relevance + self.worth) / 3, 2)
