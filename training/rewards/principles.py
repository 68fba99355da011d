"""The reward `principles`: how well a story follows the principles in force. A judge names those that it breaks, with the words that break them.

reward = 1 - broken / all, from 0 to 1
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from pydantic import BaseModel, ConfigDict, Field, create_model

from training.common.question import Question
from training.common.records import Principle
from training.config.declarations import Answer, Resources, Reward
from training.constitution.questions import numbered
from training.rewards.quotes import plain, stands_in
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
    """Ask a judge about a story and all principles, which come first for the server's prefix cache."""
    words = plain(story)

    def check(answer: Broken) -> str:
        lost = sum(not stands_in(one.quote, words) for one in answer.broken)
        return f"{lost} of its quotes do not stand in the story" if lost else ""

    content = (
        f"You are an editor. These are the team's principles of good writing, each with its number:\n\n{numbered(principles)}\n\nWhich of them does the story below break? For each "
        "that it breaks copy the words that break it, exactly and at most twelve of them, into `quote`, say in one sentence how they do, and give its number. "
        "A principle that the story gives no occasion for is not broken. If it breaks none, name none.\n\n"
        + fenced({"STORY": story})
    )
    return Question(
        [{"role": "user", "content": content}], _broken_of(len(principles)), most_tokens=4096, seed=seed, check=check
    )


def adherence(answer: Broken, principles: int) -> float:
    """The reward, from 0 to 1. A principle that is broken in several places counts once."""
    return 1 - len({one.principle for one in answer.broken}) / principles


async def score(answer: Answer, given: Resources) -> float | None:
    found = await given.judge(adherence_question(answer.text, given.constitution))
    return None if found is None else adherence(found, len(given.constitution))


REWARD = Reward(
    name="principles",
    meaning="A judge names the principles in force that the story breaks; the share of those that it keeps counts.",
    needs=("judge", "constitution"),
    score=score,
)
