"""A reward as another package declares one: found by its entry point, importable without torch."""

from __future__ import annotations

from pydantic import BaseModel, Field

from training.common.question import Question
from training.config.declarations import Answer, Resources, Reward, Score
from training.config.settings import Settings


class Warm(BaseModel):
    warm: bool


class WarmthSettings(Settings):
    most: int = Field(3, ge=1, le=100, description="Caps the words that are counted.")


async def score(answer: Answer, given: Resources) -> Score | None:
    found = await given.judge(Question([{"role": "user", "content": f"Is this warm? {answer.text}"}], Warm))
    if found is None:
        return None
    words = float(answer.text.count("warm"))
    return Score(min(words, given.settings.most) * found.warm, {"warm_words": words})


REWARD = Reward(
    name="warmth",
    meaning="Counts how often a story that a judge finds warm says so.",
    needs=("judge",),
    score=score,
    settings=WarmthSettings,
)
