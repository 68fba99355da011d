"""The reward `range`: LongWriter-Zero's reward for length (arXiv 2506.18841).

The range of words of a good answer follows from a rule if the request names a number; otherwise a model predicts it. The paper's own example
of an academic paper, 6,000 to 10,000 words, is wider than its rule allows; ours follows the rule. The model is asked once about a request: its answers
are stored (`training.teacher.calls`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from training.common.lengths import length_asked
from training.common.question import Question
from training.common.text import Message
from training.config.declarations import Answer, Resources, Reward
from training.config.settings import Settings
from training.rewards.counts import longwriter_words
from training.teacher.fences import fenced

MOST, WIDEST, UNIT = 12_000, 3_000, 100


class Range(NamedTuple):
    low: int
    high: int


UNANSWERABLE = Range(0, 0)


class RangeSettings(Settings):
    longest: int = Field(
        12_000,
        ge=1,
        le=10**6,
        description="The reward falls to 0 at this many words: no story may be longer.",
    )


class Predicted(BaseModel):
    model_config = ConfigDict(extra="forbid")

    because: str = Field(min_length=1, max_length=400)
    low: Annotated[int, Field(ge=0, le=MOST, multiple_of=UNIT)]
    high: Annotated[int, Field(ge=0, le=MOST, multiple_of=UNIT)]


def range_asked(prompt: Sequence[Message]) -> Range | None:
    """The range of a good answer from the length that the user's turns ask for (`training.common.lengths`); None if they name none.

    >>> [range_asked([{"role": "user", "content": text}]) for text in ("Write 2000 words.", "At most 500 words, please.", "At least 1,000 words.", "A poem.")]
    [Range(low=1800, high=2200), Range(low=450, high=500), Range(low=1000, high=1100), None]
    """
    asked = length_asked(message["content"] for message in prompt if message["role"] == "user")
    if asked is None:
        return None
    return _range(asked.low, asked.high)


def _range(low: int | None, high: int | None) -> Range:
    """N words are 0.9 N to 1.1 N, at most N are 0.9 N to N, at least N are N to 1.1 N; a range stays as it is."""
    named = [one for one in (low, high) if one is not None]
    if not 0 < min(named) <= MOST:
        return UNANSWERABLE
    if low is not None and high is not None and low < high:
        return Range(low, min(high, MOST))
    return Range(
        round(0.9 * named[0]) if high is not None else named[0], round(1.1 * named[0]) if low is not None else named[0]
    )


def range_question(prompt: Sequence[Message]) -> Question[Predicted]:
    """Ask a model for the length of a good answer to the request."""
    text = "\n\n".join(message["content"] for message in prompt)
    content = (
        "How many words does a good answer to the request below have? Think of all good answers that it might get, leave out the shortest tenth and the longest "
        f"tenth, and give the range of the rest: `low` and `high`, multiples of {UNIT}, from 0 to {MOST}, at most {WIDEST} apart. For Chinese and Japanese count characters. "
        "A school essay has 800 to 1000, an academic paper 7000 to 10000, a question about how to begin a thesis 400 to 800. "
        f"If the request cannot be answered, or only by more than {MOST} words, both are 0. Say first, in one sentence, what the length depends on.\n\n"
        + fenced({"REQUEST": text})
    )
    return Question([{"role": "user", "content": content}], Predicted, most_tokens=600, temperature=0.0, check=_wrong)


def _wrong(answer: Predicted) -> str:
    if answer.high < answer.low:
        return "the range ends before it begins"
    if answer.high - answer.low > WIDEST:
        return f"the range is wider than {WIDEST} words"
    return ""


def longwriter_length(text: str, low: int, high: int, longest: int) -> float:
    """LongWriter-Zero's length reward, from 0 to 1.

    It is 1 from `low` to `high` words and words / low below; above, it falls evenly to 0 at `longest`, about which the paper says nothing. A range of
    [0, 0] stands for a request that no length answers: only an empty text is right then.
    """
    words = longwriter_words(text)
    if words < low:
        return words / low
    if words <= high:
        return 1.0
    return max(0.0, (longest - words) / (longest - high)) if longest > high else 0.0


async def score(answer: Answer, given: Resources) -> float | None:
    found = range_asked(answer.prompt)
    if found is None and answer.target:
        found = _range(answer.target, answer.target)
    if found is None and given.ranges is not None:
        predicted = await given.ranges(range_question(answer.prompt))
        found = None if predicted is None else Range(predicted.low, predicted.high)
    return None if found is None else longwriter_length(answer.text, *found, given.settings.longest)


REWARD = Reward(
    name="range",
    meaning="LongWriter-Zero's reward for length: it is 1 within the range that was asked for, or that a model finds right.",
    needs=("ranges",),
    needs_target=True,
    score=score,
    settings=RangeSettings,
)
