"""What a teacher is asked about principles, and the shape of its answers.

What many questions share comes first and the text last, so that a server's prefix cache holds the rest. A text is material: it stands between
two lines that it cannot know, and the question says that nothing in it is meant for the reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from pydantic import BaseModel, ConfigDict, Field, create_model

from training.common.records import Principle
from training.common.text import Message
from training.constitution.edits import MOST_EDITS, Edit
from training.teacher.fences import fenced


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Follows(_Answer):
    """A principle that a text follows, by its number, shown by the text's words."""

    quote: str = Field(min_length=1, max_length=200)
    because: str = Field(max_length=200)
    principle: int


class Fit(_Answer):
    follows: Sequence[Follows]


@cache
def fit_of(principles: int, *, least: int = 0) -> type[Fit]:
    """The answer about so many principles: three at most, best first."""
    number = create_model("Follows", __base__=Follows, principle=(int, Field(ge=1, le=principles)))
    return create_model("Fit", __base__=Fit, follows=(list[number], Field(min_length=least, max_length=3)))


class Violation(_Answer):
    because: str = Field(min_length=1, max_length=400)
    edits: list[Edit] = Field(min_length=1, max_length=MOST_EDITS)


class Verdict(_Answer):
    because: str = Field(max_length=400)
    a_breaks: bool
    b_breaks: bool
    only_a: list[int] = Field(max_length=10)
    only_b: list[int] = Field(max_length=10)


def which_fit(text: str, principles: Sequence[Principle]) -> list[Message]:
    return _asked(
        "You are an editor. Below are principles of good writing, each with its number, and then a text.",
        numbered(principles),
        "Which of these principles does the text follow best? Name three at most, best first, and only such as show in particular words of the "
        "text: copy those words into `quote`, say in one sentence how they follow the principle, and give its number. If it follows none so "
        "that it shows, name none.",
        {"TEXT": text},
    )


def violate(text: str, principle: Principle) -> list[Message]:
    return _asked(
        "You make examples for teaching writers: pairs of texts that differ in one thing only. The first keeps a principle of good writing; the "
        "second is the same text, changed as little as possible, so that it breaks that principle.",
        _in_full(principle),
        "The text below keeps this principle. Change it so that it breaks this one, plainly enough for a careful editor to mark the place, and "
        "no other. Everything else stays: what happens, who speaks, the facts, the language, the length, the quality of the writing. Do not "
        "use words of the examples. Give the changes as edits: `find` is a run of words exactly as they stand in the text, long enough to stand "
        f"there only once; `replace` is what is to stand in its place. One edit is best, {MOST_EDITS} are the most. Say in `because` how the changed "
        "text breaks the principle.",
        {"TEXT": text},
    )


def judge(first: str, second: str, principle: Principle, others: Sequence[Principle]) -> list[Message]:
    return _asked(
        "You are an editor. Below are a principle of good writing, some others with their numbers, and then two versions of one text, A and B.",
        f"{_in_full(principle)}\n\nThe others:\n{numbered(others)}",
        "Compare the versions. `a_breaks` and `b_breaks`: does A, does B break the principle that stands first? It may be both, or neither. "
        "`only_a`: the numbers of the others that A breaks and B keeps; `only_b`: those that B breaks and A keeps; mostly there are none.",
        {"A": first, "B": second},
    )


def _asked(what: str, principles: str, question: str, texts: dict[str, str]) -> list[Message]:
    content = f"{what}\n\n{principles}\n\n{question}\n\n{fenced(texts)}"
    return [{"role": "user", "content": content}]


def numbered(principles: Sequence[Principle]) -> str:
    return "\n".join(f"{number}. {one.name}: {one.explanation}" for number, one in enumerate(principles, 1))


def _in_full(principle: Principle) -> str:
    parts = [f"The principle: {principle.name}", principle.explanation]
    for one in principle.examples:
        parts += [
            f"Keeps it: {one.follows}\n(Why: {one.follows_because})",
            f"Breaks it: {one.breaks}\n(Why: {one.breaks_because})",
        ]
    return "\n\n".join(parts)
