"""The kinds of runs: trainings, which make a version, and stages, which make data. What each may be asked, and what it can learn from."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from pydantic import BaseModel

from training.constitution.settings import Mix
from training.recipes.kinds import RECIPES
from training.recipes.settings import DpoSettings, RewardModelSettings
from training.settings import Settings
from training.stages import STAGES as ALL_STAGES
from writer.studio.models import DatasetKind


class _MixedDpo(DpoSettings):
    mix: Mix = Mix()


class _MixedRewardModel(RewardModelSettings):
    mix: Mix = Mix()


MIXED: dict[str, type[Settings]] = {"dpo": _MixedDpo, "reward_model": _MixedRewardModel}
"""What learns pairs gets them mixed by the house, from one snapshot with all its sources: the stage `pairs` is a part of these runs."""
STAGES = {name: kind for name, kind in ALL_STAGES.items() if name != "pairs"}
KINDS: dict[str, type[Settings]] = {**RECIPES, **MIXED, **STAGES}

LEARNS_FROM: dict[str, tuple[DatasetKind, ...]] = {
    "pretrain": (DatasetKind.TEXTS,),
    "sft": (DatasetKind.CONVERSATIONS, DatasetKind.PREFERENCE),
    "reward_model": (DatasetKind.PREFERENCE,),
    "dpo": (DatasetKind.PREFERENCE,),
    "violations": (DatasetKind.TEXTS, DatasetKind.CONVERSATIONS),
    "backtranslate": (DatasetKind.TEXTS, DatasetKind.CONVERSATIONS),
    "references": (DatasetKind.CONVERSATIONS,),
    "tools": (DatasetKind.TEXTS,),
}
"""Of preferences, sft learns the preferred text. Violations are made of a snapshot's good texts, too."""
FROM_SNAPSHOTS = ("dpo", "reward_model", "sft", "violations")

_PATHS: dict[str, Any] = {
    "run_dir": "run", "model": "model", "data": ["data"], "constitution": "constitution.json", "corpus": ["corpus"],
}  # fmt: skip
_TEACHER = {"url": "http://teacher", "model": "teacher"}
FILLED_IN: dict[str, Any] = {
    **dict.fromkeys((*_PATHS, "held_out", "held_out_share", "reference_cache"), True),
    "teacher": dict.fromkeys((*_TEACHER, "key_variable", "replay"), True),
}
"""What no form asks: the house fills it in when the run begins."""


def is_stage(recipe: str) -> bool:
    return recipe in STAGES


def settings_class(recipe: str) -> type[Settings]:
    """What the training library itself reads: without what the house adds."""
    return (RECIPES | STAGES)[recipe]


def asks_a_teacher(recipe: str) -> bool:
    return "teacher" in KINDS[recipe].model_fields


def shows_passages(recipe: str) -> bool:
    return "corpus" in KINDS[recipe].model_fields


def teacher_named() -> str:
    """The model that stages ask, and whether that is outside of the house."""
    where = f"{settings.TEACHER_URL}, outside of the house" if settings.TEACHER_OUTSIDE else "the house's own server"
    return f"{settings.TEACHER_MODEL} at {where}"


def checked(recipe: str, values: dict[str, Any]) -> Settings:
    """`values` as the kind's own class takes them, with something in the place of what the house fills in. Raises pydantic's ValidationError."""
    kind = KINDS[recipe]
    given = {name: place for name, place in _PATHS.items() if name in kind.model_fields}
    if asks_a_teacher(recipe):
        given["teacher"] = values.get("teacher", {}) | _TEACHER
    return kind.model_validate(values | given)


def settings_of(found: BaseModel) -> dict[str, Any]:
    """What a run keeps of its settings."""
    return found.model_dump(mode="json", exclude=FILLED_IN)
