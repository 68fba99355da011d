"""What a story is rewarded for, and how rewards become advantages. No torch is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from training.config.markers import FilledIn, Part
from training.config.settings import Settings
from training.config.teacher import TeacherSettings

RewardName = Literal[
    "quality", "preference", "principles", "length", "range", "repetition", "paraphrase", "blank", "form"
]
JUDGED: frozenset[str] = frozenset({"quality", "principles"})
"""Rewards that a judge is asked for."""
MEANING: dict[RewardName, str] = {
    "quality": "a judge's score by the rubric of stories, from -1.59 to 1.08",
    "preference": "what a reward model of the editors' votes makes of it",
    "principles": "the share of the principles in force that a judge finds kept",
    "length": "how far off the length that was asked for, from 0 to 1; a penalty's weight is negative",
    "range": "LongWriter-Zero's length: 1 within the range that was asked for, or that a judge finds right",
    "repetition": "how much it repeats itself, from 0 to 1.5; a penalty",
    "paraphrase": "the share of sentences that say again what one before said; a penalty",
    "blank": "1 for fewer than 150 words; a penalty",
    "form": "1 for thinking and then the answer, each within its tags",
}


class Combining(Settings):
    """How rewards become advantages (`training.rewards.combine`)."""

    how: Literal["weighted", "averaged"] = Field(
        "weighted",
        description="a weighted sum (POLARIS), or the mean of rewards normalised in the group (LongWriter-Zero)",
    )
    weights: Annotated[
        dict[RewardName, Annotated[float, Field(ge=-100, le=100)]],
        Part("Rewards of a story: the weight of each, empty where it is not used", 10),
    ] = Field(
        {"quality": 1.0, "repetition": -1.5, "length": -0.8, "blank": -1.0},
        min_length=1,
        description="a penalty's is negative",
        json_schema_extra={"names": {str(name): words for name, words in MEANING.items()}},
    )
    clip: float | None = Field(2.0, gt=0, le=1000, description="of a weighted sum, either way")
    epsilon: float = Field(1e-6, gt=0, le=1)
    floor: float = Field(0.05, ge=0, le=10, description="the least deviation of a group that is divided by")


class RewardSettings(Combining):
    """What a story is rewarded for, and who says so."""

    judge: Annotated[TeacherSettings | None, Part("How each judge is asked, and what it may cost", 50)] = Field(
        None, description="for quality and principles"
    )
    ranges: Annotated[TeacherSettings | None, FilledIn()] = Field(
        None, description="says how long a good answer is, where a request names no length"
    )
    longest: int = Field(
        12_000,
        ge=1,
        le=10**6,
        description="words at which the reward range is down to 0: the longest that a story may be",
    )
    preference: Annotated[Path | None, FilledIn("filled-in")] = Field(None, description="a reward model's folder")
    constitution: Annotated[Path | None, FilledIn("filled-in")] = Field(
        None, description="the principles in force, TOML or JSON"
    )

    @model_validator(mode="after")
    def all_is_there(self) -> RewardSettings:
        named = self.weights.keys()
        for name, what, value in (
            ("quality", "judge", self.judge), ("principles", "judge", self.judge), ("principles", "constitution", self.constitution),
            ("preference", "preference", self.preference),
        ):  # fmt: skip
            if name in named and value is None:
                raise ValueError(f"the reward {name} needs {what}")
        if all(weight == 0 for weight in self.weights.values()):
            raise ValueError("no reward has a weight")
        return self
