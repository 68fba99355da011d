"""The kinds of runs: trainings, which make a version, and stages, which make data. What each may be asked, and what it can learn from."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from pydantic import BaseModel, ValidationError

from training.config.settings import Settings
from training.constitution.settings import Mix
from training.recipes.dpo import DpoSettings
from training.recipes.registry import RECIPES
from training.recipes.registry import STAGES as ALL_STAGES
from training.recipes.reward_model import RewardModelSettings
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
    "grpo": (DatasetKind.CONVERSATIONS,),
    "violations": (DatasetKind.TEXTS, DatasetKind.CONVERSATIONS),
    "backtranslate": (DatasetKind.TEXTS, DatasetKind.CONVERSATIONS),
    "references": (DatasetKind.CONVERSATIONS,),
    "tools": (DatasetKind.TEXTS,),
}
"""Of preferences, sft learns the preferred text. Violations are made of a snapshot's good texts, too. Of conversations, grpo takes the requests, and the
answers as human stories."""
FROM_SNAPSHOTS = ("dpo", "reward_model", "sft", "violations")

_PATHS: dict[str, Any] = {
    "run_dir": "run", "model": "model", "data": ["data"], "constitution": "constitution.json", "corpus": ["corpus"],
}  # fmt: skip
_TEACHER = {"url": "http://teacher", "model": "teacher"}
_REWARDS = {"judge": _TEACHER, "ranges": _TEACHER, "preference": "preference", "constitution": "constitution.json"}
_BY_THE_HOUSE = dict.fromkeys((*_TEACHER, "key_variable", "replay"), True)
FILLED_IN: dict[str, Any] = {
    **dict.fromkeys((*_PATHS, "held_out", "held_out_share", "reference_cache", "replay"), True),
    "teacher": _BY_THE_HOUSE,
    "rewards": {**dict.fromkeys(_REWARDS, True), "judge": _BY_THE_HOUSE},
    "guards": {"judge": True},
    "rollouts": dict.fromkeys(("url", "key_variable", "sync"), True),
}
"""What no form asks: the house fills it in when the run begins. All judges are asked as the first one is."""


def is_stage(recipe: str) -> bool:
    return recipe in STAGES


def settings_class(recipe: str) -> type[Settings]:
    """What the training library itself reads: without what the house adds."""
    return (RECIPES | STAGES)[recipe]


def asks_a_teacher(recipe: str) -> bool:
    return "teacher" in KINDS[recipe].model_fields


def asks_judges(recipe: str) -> bool:
    return "rewards" in KINDS[recipe].model_fields


def shows_passages(recipe: str) -> bool:
    return "corpus" in KINDS[recipe].model_fields


def teacher_named() -> str:
    """The model that stages ask, and whether that is outside of the house."""
    return _named(settings.TEACHER_MODEL, settings.TEACHER_URL, outside=settings.TEACHER_OUTSIDE)


def judges_named() -> list[str]:
    """The model that scores a run's stories, and the one that only watches, if there is one."""
    found = [_named(settings.JUDGE_MODEL, settings.JUDGE_URL, outside=settings.JUDGE_OUTSIDE)]
    if settings.SECOND_JUDGE_URL:
        found.append(
            _named(settings.SECOND_JUDGE_MODEL, settings.SECOND_JUDGE_URL, outside=settings.SECOND_JUDGE_OUTSIDE)
        )
    return found


def _named(model: str, url: str, *, outside: bool) -> str:
    where = f"{url}, outside of the house" if outside else "the house's own server"
    return f"{model} at {where}"


def checked(recipe: str, values: dict[str, Any]) -> Settings:
    """`values` as the kind's own class takes them, with something in the place of what the house fills in. Raises pydantic's ValidationError."""
    kind = KINDS[recipe]
    given = {name: place for name, place in _PATHS.items() if name in kind.model_fields}
    if asks_a_teacher(recipe):
        given["teacher"] = _TEACHER
    if asks_judges(recipe):
        given["rewards"] = _REWARDS
    return kind.model_validate(merged(values, given))


def renewed(recipe: str, values: dict[str, Any]) -> dict[str, Any]:
    """A run's settings under their current names; unchanged if the recipe does not accept them any more."""
    try:
        return settings_of(checked(recipe, values))
    except ValidationError:
        return values


def merged(values: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """With what the others say, group by group.

    >>> merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 4}})
    {'a': {'b': 1, 'c': 4}, 'd': 3}
    """
    found = dict(values)
    for name, value in others.items():
        was = found.get(name)
        found[name] = merged(was, value) if isinstance(was, dict) and isinstance(value, dict) else value
    return found


def settings_of(found: BaseModel) -> dict[str, Any]:
    """What a run keeps of its settings."""
    return found.model_dump(mode="json", exclude=FILLED_IN)
