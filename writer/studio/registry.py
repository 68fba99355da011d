"""The recipes and stages of the training library in the studio, and the settings that the site fills in."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, get_origin

from django.conf import settings
from pydantic import BaseModel, Field, create_model

from training.config.declarations import Recipe, Stage
from training.config.fields import always_on, group_of, is_filled_in
from training.config.markers import FilledIn, NotAsked, Part, marker
from training.config.recipe import MixtureSettings, Weight
from training.config.settings import Settings
from training.recipes.registry import RECIPES, STAGES
from writer.studio.models import DatasetKind


class _Declared(ChainMap[str, Any]):
    def __getitem__(self, name: str) -> Recipe | Stage:
        return STAGES[name] if name in STAGES else RECIPES[name]


DECLARED: Mapping[str, Recipe | Stage] = _Declared(STAGES, RECIPES)
"""Recipes, then stages. The look-up of one that is not installed raises MendableError."""


def is_stage(recipe: str) -> bool:
    return recipe in STAGES


def kinds_read(recipe: str) -> list[DatasetKind]:
    """The kinds of data sets that the recipe or stage reads."""
    return [DatasetKind(kind) for kind in DECLARED[recipe].learns_from]


OF_THE_STUDIO = {"merge_adapter", "mix", "sources"}
"""Settings of a form that are no settings of the recipe: whether the adapter of the base is merged first; if pairs of several sources are mixed, their
shares; and if data sets are, the weight of each by its entry, such as "dataset:2", which become `data` and `data_weights`."""
_MERGE = (
    "Begins from whole weights, into which the adapter of the version is merged. Otherwise the run continues that adapter, of the same rank and alpha, "
    "and makes an adapter of the same model"
)


def mixes_data(recipe: str) -> bool:
    """Whether a run of the recipe may read several data sets, by weight."""
    return issubclass(DECLARED[recipe].settings, MixtureSettings)


@cache
def form_class(recipe: str) -> type[Settings]:
    """The settings class of a form: the declared one with `OF_THE_STUDIO`, as far as they are the recipe's."""
    declared = DECLARED[recipe]
    if not isinstance(declared, Recipe):
        return declared.settings
    more: dict[str, Any] = {"merge_adapter": (bool, Field(False, description=_MERGE))}
    if declared.mix is not None:
        more["mix"] = (Annotated[declared.mix, Part("How much of each source", 80)], declared.mix())
    if mixes_data(recipe):
        more["sources"] = (Annotated[dict[str, Weight], NotAsked()], {})
    return create_model(f"Studio{declared.settings.__name__}", __base__=declared.settings, **more)


def teacher_named() -> str:
    """The teacher of the stages, and whether it is outside the site."""
    return _named(settings.TEACHER_MODEL, settings.TEACHER_URL, outside=settings.TEACHER_OUTSIDE)


def judges_named() -> list[str]:
    """The judge of a run's stories, and the second judge, if there is one."""
    found = [_named(settings.JUDGE_MODEL, settings.JUDGE_URL, outside=settings.JUDGE_OUTSIDE)]
    if settings.SECOND_JUDGE_URL:
        found.append(
            _named(settings.SECOND_JUDGE_MODEL, settings.SECOND_JUDGE_URL, outside=settings.SECOND_JUDGE_OUTSIDE)
        )
    return found


def _named(model: str, url: str, *, outside: bool) -> str:
    where = f"{url}, outside this site" if outside else "this site's own server"
    return f"{model} at {where}"


# Settings that the site fills in


@cache
def _filled_in(kind: type[BaseModel]) -> dict[str, Any]:
    """The settings that the site fills in, as the `exclude` of `model_dump`: True for a whole setting, otherwise by names."""
    found: dict[str, Any] = {}
    for name, info in kind.model_fields.items():
        group, _ = group_of(info)
        if is_filled_in(info):
            found[name] = True
        elif group is not None and (inside := _filled_in(group)):
            found[name] = inside
    return found


def _examples(kind: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    """Placeholders for required settings that the site fills in."""
    for name, info in kind.model_fields.items():
        group, _ = group_of(info)
        given = marker(info, FilledIn)
        if given is not None and given.example is not None:
            yield name, given.example
        elif is_filled_in(info):
            if info.is_required():
                yield name, ["filled-in"] if get_origin(info.annotation) is tuple else "filled-in"
        elif group is not None and (not info.default_factory) and (always_on(info) or dict(_examples(group))):
            yield name, dict(_examples(group))


def checked(recipe: str, values: Mapping[str, Any]) -> Settings:
    """Validate `values` with the form's class and the placeholders. Raises pydantic's ValidationError."""
    kind = form_class(recipe)
    return kind.model_validate(merged(values, dict(_examples(kind))))


def current(recipe: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of an earlier run under their present names; unchanged if they are no longer valid."""
    if recipe not in DECLARED:  # from a package that is no longer installed
        return dict(values)
    try:
        return settings_of(checked(recipe, values))
    except ValueError:
        return dict(values)


def merged(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with those of `others`, group by group.

    >>> merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 4}})
    {'a': {'b': 1, 'c': 4}, 'd': 3}
    """
    found = dict(values)
    for name, value in others.items():
        was = found.get(name)
        found[name] = merged(was, value) if isinstance(was, Mapping) and isinstance(value, Mapping) else value
    return found


def settings_of(found: BaseModel) -> dict[str, Any]:
    """The settings that are stored with a run: all except those that the site fills in."""
    return found.model_dump(mode="json", exclude=_filled_in(type(found)))
