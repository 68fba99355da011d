"""How well a story keeps to the principles in force: a judge names those that it breaks, each by the words that do.

reward = 1 - broken / asked about, from 0 to 1
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from pydantic import BaseModel, ConfigDict, Field, create_model

from training.common.records import Principle
from training.constitution.questions import numbered
from training.rewards.quotes import plain, stands_in
from training.teacher.client import Question
from training.teacher.fences import fenced


class Breaks(BaseModel):
    model_config = ConfigDict(extra="forbid")

    quote: str = Field(min_length=1, max_length=200)
    because: str = Field(min_length=1, max_length=300)
    principle: int


class Broken(BaseModel):
    model_config = ConfigDict(extra="forbid")

    broken: Sequence[Breaks]


@cache
def _broken_of(principles: int) -> type[Broken]:
    number = create_model("Breaks", __base__=Breaks, principle=(int, Field(ge=1, le=principles)))
    return create_model("Broken", __base__=Broken, broken=(list[number], Field(max_length=2 * principles)))


def adherence_question(story: str, principles: Sequence[Principle], *, seed: int = 0) -> Question[Broken]:
    """What a judge is asked about a story and all principles together; these come first, for the server's cache."""
    words = plain(story)

    def check(answer: Broken) -> str:
        lost = sum(not stands_in(one.quote, words) for one in answer.broken)
        return f"{lost} of its quotes do not stand in the story" if lost else ""

    content = (
        f"You are an editor. These are the principles of the house, each with its number:\n\n{numbered(principles)}\n\nWhich of them does the story below break? For each "
        "that it breaks copy the words that break it, exactly and at most twelve of them, into `quote`, say in one sentence how they do, and give its number. "
        "A principle that the story gives no occasion for is not broken. If it breaks none, name none.\n\n"
        + fenced({"STORY": story})
    )
    return Question(
        [{"role": "user", "content": content}], _broken_of(len(principles)), most_tokens=4096, seed=seed, check=check
    )


def adherence(answer: Broken, principles: int) -> float:
    """A principle that is broken in several places is broken once."""
    return 1 - len({one.principle for one in answer.broken}) / principles
