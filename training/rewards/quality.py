"""The reward `quality`: POLARIS' Story Quality. A judge fills in the rubric's sheet, from which a score is computed.

The judge gets the prompt without the sentence that asks for a length, and the story without its thinking; it is not told who wrote it. The
rubric comes first, for the server's prefix cache. Each answer follows a schema in which reasons come before scores. A fault needs a quote of
the story; otherwise the sheet is invalid.

    overall = merits - faults + bonus (0 where faults > merits / 2) - penalty (3 at most where merits > 1.5 faults), from -159 to 108
    reward  = overall / 100
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, cast

import regex
from pydantic import BaseModel, ConfigDict, Field, create_model

from training.common.question import Question
from training.common.rubric import CATCH_ALLS, DIMENSIONS, NEGATIVE, POSITIVE, PRINCIPLES, Dimension, Scores
from training.common.text import Message
from training.config.declarations import Answer, Resources, Reward, Score
from training.rewards.quotes import plain, stands_in
from training.teacher.fences import fenced

LOWEST, HIGHEST = -159, 108
MOST_TOKENS = 8192
_ASKS_LENGTH = regex.compile(r"words\s+long", regex.IGNORECASE)
_SENTENCE = regex.compile(r"(?:^|(?<=[.!?…\n]))\s*", regex.MULTILINE)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Scored(_Part):
    justification: str = Field(min_length=1, max_length=800)
    quotes: list[str] = Field(max_length=2)
    why_not_higher: str = Field(max_length=300)
    why_not_lower: str = Field(max_length=300)
    score: int


class _Exception(_Part):
    target: str = Field(max_length=300)
    quotes: list[str] = Field(max_length=2)
    nearest: str
    why_not_there: str = Field(max_length=300)
    score: int


class Sheet(_Part):
    """A judge's answer: each dimension by its key, with the reason before the score. `sheet_class` makes the fields from the rubric."""

    overall_justification: str = Field(min_length=1, max_length=2000)

    def part(self, key: str) -> Any:
        return getattr(self, key)

    @property
    def scores(self) -> Scores:
        return Scores(
            scores={one.key: self.part(one.key).score for one in DIMENSIONS},
            bonus=self.part("BONUS").score,
            penalty=self.part("PENALTY").score,
        )


@cache
def sheet_class() -> type[Sheet]:
    """The shape of an answer, made from the rubric."""
    fields: dict[str, Any] = {}
    for one in DIMENSIONS:
        fields[one.key] = (create_model(one.key, __base__=_Scored, score=(int, Field(ge=0, le=one.max))), ...)
    nearest: Any = Literal["none", *(one.key for one in DIMENSIONS)]
    for one in CATCH_ALLS:
        own: Any = create_model(
            one.key, __base__=_Exception, nearest=(nearest, ...), score=(int, Field(ge=0, le=one.max))
        )
        fields[one.key] = (own, ...)
    base: Any = create_model("Dimensions", __base__=_Part, **fields)
    sheet: Any = create_model("Sheet", __base__=(Sheet, base))
    return cast("type[Sheet]", sheet)


def quality_question(prompt: Sequence[Message], story: str, *, seed: int = 0) -> Question[Sheet]:
    """Ask a judge about a story (without its thinking) under the prompt that the writer had."""
    shown = fenced({"PROMPT": without_length(prompt), "STORY": story})
    content = f"{instructions()}\n\n{shown}\n\nFill in the sheet."
    return Question(
        [{"role": "user", "content": content}],
        sheet_class(),
        most_tokens=MOST_TOKENS,
        seed=seed,
        check=shown_by_quotes(story),
    )


def shown_by_quotes(story: str) -> Callable[[Sheet], str]:
    """A check of a sheet for this story: it returns an error if a fault or exception has no quote from the story."""
    words = plain(story)

    def check(sheet: Sheet) -> str:
        for one in NEGATIVE:
            part = sheet.part(one.key)
            if part.score > one.bands[0].high and not any(stands_in(quote, words) for quote in part.quotes):
                return f"{one.key} is {part.score}, and none of its quotes stands in the story"
        for one in CATCH_ALLS:
            part = sheet.part(one.key)
            if part.score >= 2 and not any(stands_in(quote, words) for quote in part.quotes):
                return f"{one.key} is {part.score}, and none of its quotes stands in the story"
        return ""

    return check


def composite(scores: Scores) -> float:
    """The sheet's overall score by POLARIS' rules on bonus and penalty, from LOWEST to HIGHEST.

    With merits of 80, faults of 45, a bonus of 6 and a penalty of 5, the bonus is void, since 45 is more than 40, and the penalty counts 3, since
    80 is more than 67.5: 80 - 45 - 3 = 32.
    """
    merits, faults = scores.positive, scores.negative
    bonus = 0 if faults > merits / 2 else scores.bonus
    penalty = min(scores.penalty, 3) if merits > 1.5 * faults else scores.penalty
    return float(min(max(merits - faults + bonus - penalty, LOWEST), HIGHEST))


def quality(scores: Scores) -> float:
    """The reward, from -1.59 to 1.08."""
    return composite(scores) / 100


def without_length(prompt: Sequence[Message]) -> str:
    """The request without the last sentence that contains "words long", and without the text after it.

    >>> without_length([{"role": "user", "content": "Write about a lamp. It should be approximately 900 words long."}])
    'Write about a lamp.'
    """
    asked = "\n\n".join(message["content"] for message in prompt if message["role"] == "user")
    found = list(_ASKS_LENGTH.finditer(asked))
    if not found:
        return asked.strip()
    begins = max(match.end() for match in _SENTENCE.finditer(asked) if match.end() <= found[-1].start())
    return asked[:begins].strip()


@cache
def instructions() -> str:
    """The rubric in the same words as for editors."""
    rules = "\n".join(f"- {one}" for one in PRINCIPLES)
    merits, faults = ("\n\n".join(_shown(one) for one in some) for some in (POSITIVE, NEGATIVE))
    return (
        "You are an experienced fiction editor, and score a story by the sheet below. Do not guess who or what wrote it. Read all of it first.\n\n"
        f"Rules for using the sheet:\n{rules}\n\n"
        f"Merits, of which more is better:\n\n{merits}\n\n"
        f"Faults, of which more is worse:\n\n{faults}\n\n"
        f"The rare exception:\n\n{chr(10).join(_shown(one) for one in CATCH_ALLS)}\n\n"
        "For each of P1 to P6 and N1 to N10 give `justification`, one to three sentences; `quotes`, one or two of at most twelve words each, copied "
        "exactly from the story (a fault above 0 must have one; otherwise they may be missing); `why_not_higher` and `why_not_lower`, why the score is not "
        "clearly higher or lower; and then `score`. For BONUS and PENALTY give `target`, the one moment it is about; `quotes`, as above, needed for 2 and "
        "more; `nearest`, the dimension that comes nearest, or none; `why_not_there`, why that dimension does not cover it; and then `score`, which is 0 unless "
        "all of this can be said. `overall_justification` is two to five sentences without numbers."
    )


def _shown(one: Dimension) -> str:
    bands = "\n".join(f"  {band.span}: {band.text}" for band in one.bands)
    return f"{one.key} {one.name}, 0 to {one.max}. {one.measures.strip()} Not here: {one.not_here.strip()}\n{bands}"


async def score(answer: Answer, given: Resources) -> float | Score | None:
    sheet = await given.judge(quality_question(answer.prompt, answer.text))
    if sheet is None:
        return None
    scores = sheet.scores
    dimensions = scores.scores | {"BONUS": scores.bonus, "PENALTY": scores.penalty}
    return Score(quality(scores), {f"rubric_{key}": float(value) for key, value in dimensions.items()})


REWARD = Reward(
    name="quality",
    meaning="A judge scores the story by the rubric, from -1.59 to 1.08.",
    needs=("judge",),
    score=score,
)
