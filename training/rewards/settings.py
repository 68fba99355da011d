"""The settings of rewards and of their combination to advantages. No torch is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, Field, create_model, model_validator

from training.config.declarations import Reward
from training.config.markers import Entries, FilledIn, Part
from training.config.settings import Settings
from training.config.teacher import TeacherSettings
from training.rewards.registry import REWARDS

REQUIRED = frozenset({"judge", "constitution", "preference"})
"""Needs of rewards that are required settings. `ranges` may be missing; `embeddings` are those of the model."""


def _known(weights: dict[str, float]) -> dict[str, float]:
    if unknown := sorted(weights.keys() - REWARDS.keys()):
        raise ValueError(f"there is no reward {', '.join(map(repr, unknown))}: choose from {', '.join(REWARDS)}")
    return weights


class Combining(Settings):
    """How rewards become advantages (`training.rewards.combine`)."""

    how: Literal["weighted", "averaged"] = Field(
        "weighted",
        description="Adds the rewards up by their weights (POLARIS), or takes the mean of rewards normalised in the group (LongWriter-Zero).",
    )
    weights: Annotated[
        dict[str, Annotated[float, Field(ge=-100, le=100)]],
        Part("Rewards of a story: the weight of each, empty where it is not used", 10),
        Entries({name: reward.meaning for name, reward in REWARDS.items()}),
        AfterValidator(_known),
    ] = Field(
        {"quality": 1.0, "repetition": -1.5, "length": -0.8, "blank": -1.0},
        min_length=1,
        description="Gives each reward that is used its weight; a penalty has a negative one.",
    )
    clip: float | None = Field(2.0, gt=0, le=1000, description="Bounds a weighted sum, above and below 0.")
    epsilon: float = Field(
        1e-6, gt=0, le=1, description="Adds this much to a group's standard deviation before a division."
    )
    min_std: float = Field(
        0.05,
        validation_alias=AliasChoices("min_std", "floor"),
        ge=0,
        le=10,
        description="Sets the least standard deviation by which a group is normalised.",
    )


def own_settings(rewards: Mapping[str, Reward]) -> Any:
    """A class with a table for each reward with settings."""
    fields: dict[str, Any] = {name: (one.settings, one.settings()) for name, one in rewards.items() if one.settings}
    return create_model("OwnSettings", __base__=Settings, **fields)


class RewardSettings(own_settings(REWARDS), Combining):  # type: ignore[misc]
    """The rewards of a story, and their judges. A reward with settings also has a table, such as `[rewards.range]`."""

    judge: Annotated[TeacherSettings | None, Part("How each judge is asked, and what it may cost", 50)] = Field(
        None, description="Names the model that judges stories."
    )
    ranges: Annotated[TeacherSettings | None, FilledIn()] = Field(
        None, description="Names the model that says how long a good answer is, where a request names no length."
    )
    preference: Annotated[Path | None, FilledIn("filled-in")] = Field(
        None, description="Names the folder of a reward model."
    )
    constitution: Annotated[Path | None, FilledIn("filled-in")] = Field(
        None, description="Names the file of the principles in force, TOML or JSON."
    )

    @property
    def needs_target(self) -> str:
        """The first reward that has no value for a request without a length; "" if there is none."""
        given = [REWARDS[name] for name in self.weights]
        return next((one.name for one in given if one.needs_target and not ("ranges" in one.needs and self.ranges)), "")

    @model_validator(mode="before")
    @classmethod
    def longest_belongs_to_range(cls, values: Any) -> Any:
        """Move a setting from its place in older settings files to the table of its reward."""
        if isinstance(values, Mapping) and "longest" in values and "range" not in values:
            values = dict(values)
            values["range"] = {"longest": values.pop("longest")}
        return values

    @model_validator(mode="after")
    def all_is_there(self) -> RewardSettings:
        for name in self.weights:
            for need in REWARDS[name].needs:
                if need in REQUIRED and getattr(self, need) is None:
                    raise ValueError(f"the reward {name} needs {need}")
        if all(weight == 0 for weight in self.weights.values()):
            raise ValueError("no reward has a weight")
        return self
