"""A declaration that the plan, the forms or the workers could not use is refused where it is made, so that its package can be named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import Field

from training.config.declarations import Recipe
from training.config.recipe import RecipeSettings
from training.config.settings import Settings
from training.instruct.data_settings import REFERENCES, TOOLS
from training.recipes.registry import RECIPES


class Rows(RecipeSettings):
    batch_rows: int = Field(4, ge=1, le=100)


class Unbounded(RecipeSettings):
    batch: int = 4


class Rewarded(RecipeSettings):
    batch: int = Field(4, ge=1, le=100)
    rewards: bool = False


class Phrase(Settings):
    phrase: str = "warm"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"settings": Rows}, "not a RecipeSettings with `batch`, the examples of a step, or `batch_tokens`, its tokens"),
        ({"settings": Unbounded}, "the setting batch has no bounds"),
        ({"settings": Phrase}, "the setting phrase has a type that forms do not support, str"),
        ({"mix": Phrase}, "the setting mix.phrase has a type that forms do not support, str"),
        ({"settings": Rewarded}, "which has groups or rewards, lack group, guards, human, replay, rollouts, sampling"),
        ({"example": "group"}, "the settings of sft, which has groups or rewards, lack group, guards, human, replay, rewards, rollouts, sampling"),
        ({"example": "poem"}, "the example of sft is none of text, pair, group"),
        ({"learns_from": ("texts", "poems")}, "sft learns from poems, which does not exist"),
        ({"name": "../sft"}, "'../sft' cannot be a name"),
        ({"name": "s" * 41}, "letters, digits and underscores, 40 at most"),
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_be_used_is_refused(changes: dict[str, Any], says: str) -> None:
    sft: Recipe = RECIPES["sft"]
    with pytest.raises((ValueError, TypeError), match=says.replace("(", r"\(")):
        replace(sft, **changes)


def test_a_stage_with_questions_has_a_teacher() -> None:
    with pytest.raises(ValueError, match="references has questions, but no setting `teacher`"):
        replace(REFERENCES, questions=TOOLS.questions)
