"""The questions that a teacher is asked about principles, and the shapes of its answers.

What many questions share comes first and the text last, so that a server can reuse its prefix cache. Texts are fenced
(`training.teacher.fences`): they are material, and instructions in them do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from pydantic import BaseModel, ConfigDict, Field, create_model

from training.common.records import Principle
from training.common.text import Message
from training.constitution.edits import MAX_EDITS, Edit
from training.teacher.fences import fenced


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Follows(_Answer):
    """A principle that a text follows, by its number, with a quotation that shows it."""

    quote: str = Field(min_length=1, max_length=200)
    because: str = Field(max_length=200)
    principle: int


class Fit(_Answer):
    follows: Sequence[Follows]


@cache
def fit_of(principles: int, *, least: int = 0) -> type[Fit]:
    """The shape of an answer about this many principles: `least` to three of them, best first."""
    number = create_model("Follows", __base__=Follows, principle=(int, Field(ge=1, le=principles)))
    return create_model("Fit", __base__=Fit, follows=(list[number], Field(min_length=least, max_length=3)))


class Violation(_Answer):
    because: str = Field(min_length=1, max_length=400)
    edits: list[Edit] = Field(min_length=1, max_length=MAX_EDITS)


class Decision(_Answer):
    """Which of two versions, A and B, break a principle, and the numbers of other principles that only one of them breaks."""

    because: str = Field(max_length=400)
    a_breaks: bool
    b_breaks: bool
    only_a: list[int] = Field(max_length=10)
    only_b: list[int] = Field(max_length=10)


def fit(text: str, principles: Sequence[Principle]) -> list[Message]:
    """Ask which of the principles the text follows best."""
    return _asked(
        "You are an editor. Below are numbered principles of good writing, and then a text.",
        numbered(principles),
        "Which of these principles does the text follow best? Name at most three, best first, and only those that particular words of the text "
        "show: copy these words into `quote`, say in one sentence how they follow the principle, and give its number. If the text does not clearly "
        "follow a principle, name none.",
        {"TEXT": text},
    )


def violation(text: str, principle: Principle) -> list[Message]:
    """Ask for the smallest change by which the text breaks a principle that it follows."""
    return _asked(
        "You make examples for teaching writers: pairs of texts that differ in one respect only. The first follows a principle of good writing; the "
        "second is the same text, changed as little as possible, so that it breaks the principle.",
        _in_full(principle),
        "The text below follows this principle. Change it so that it breaks this principle and no other, clearly enough for a careful editor to "
        "mark the place. Keep everything else: what happens, who speaks, the facts, the language, the length, the quality of the writing. Do not "
        "use words of the examples. Give the changes as edits: `find` is a run of words exactly as in the text, long enough to occur only once; "
        f"`replace` is the new wording. One edit is best, and {MAX_EDITS} are the limit. Say in `because` how the changed text breaks the principle.",
        {"TEXT": text},
    )


def decision(first: str, second: str, principle: Principle, others: Sequence[Principle]) -> list[Message]:
    """Ask which of two versions of a text break a principle, without telling which version is the changed one."""
    return _asked(
        "You are an editor. Below are a principle of good writing, some other numbered principles, and then two versions of one text, A and B.",
        f"{_in_full(principle)}\n\nThe others:\n{numbered(others)}",
        "Compare the versions. `a_breaks` and `b_breaks`: does A break the first principle, and does B? It may be both, or neither. "
        "`only_a`: the numbers of the other principles that A breaks and B follows; `only_b`: those that B breaks and A follows. Usually there are none.",
        {"A": first, "B": second},
    )


def _asked(introduction: str, principles: str, question: str, texts: dict[str, str]) -> list[Message]:
    content = f"{introduction}\n\n{principles}\n\n{question}\n\n{fenced(texts)}"
    return [{"role": "user", "content": content}]


def numbered(principles: Sequence[Principle]) -> str:
    """One line for each principle: its number from 1, its name and its explanation."""
    return "\n".join(f"{number}. {one.name}: {one.explanation}" for number, one in enumerate(principles, 1))


def _in_full(principle: Principle) -> str:
    parts = [f"The principle: {principle.name}", principle.explanation]
    for one in principle.examples:
        parts += [
            f"Follows it: {one.follows}\n(Why: {one.follows_because})",
            f"Breaks it: {one.breaks}\n(Why: {one.breaks_because})",
        ]
    return "\n\n".join(parts)
