"""The fields of a form for a settings class. Declarations are checked by this module, and forms are made by it, so that both agree.

A field has a known type, and numbers have bounds. Paths and settings that are marked so (`training.config.markers`) are in no form.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from training.common.tasks import TaskKey, task_choices
from training.common.text import as_sentence
from training.config.markers import Entries, FilledIn, First, NotAsked, Part, marker

Kind = Literal["whole", "number", "choice", "choices", "yes", "numbers", "part"]

FIRST_GROUP = Part("Settings", -1)


@dataclass(frozen=True)
class Field:
    """`name` is the setting's own, with dots; `help` is a sentence, or more, or nothing.

    A `part` turns a whole group on; an `entry` belongs to a dictionary, and is left out if it is empty.
    """

    name: str
    kind: Kind
    label: str
    help: str
    default: Any
    low: float | None = None
    high: float | None = None
    above_low: bool = False
    optional: bool = False
    choices: Mapping[str, str] = field(default_factory=dict)
    """The labels of the choices."""
    entry: bool = False
    group: Part = FIRST_GROUP

    @property
    def shown(self) -> str:
        """The default as text."""
        return typed_of(self.default)


def typed_of(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, (tuple, list)):
        return ", ".join(typed_of(one) for one in value)
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def fields_of(kind: type[BaseModel], prefix: str = "", inside: Part = FIRST_GROUP, of: str = "") -> Iterator[Field]:
    """The fields of a settings class in order. `inside` is their group, and `of` the prefix of their names, with its dot.

    Raises TypeError for a setting of a type that forms do not support, and for a number without bounds.
    """
    for name, info in kind.model_fields.items():
        full = prefix + name
        if name == "recipe" or is_filled_in(info) or marker(info, NotAsked) is not None:
            continue
        part = marker(info, Part)
        group, start = (part, f"{full}.") if part else (inside, of)
        settings, optional = group_of(info)
        _, annotation = plain(info.annotation)
        if settings is not None:
            if optional and not always_on(info):
                about = as_sentence(" ".join((settings.__doc__ or "").split()))
                label = _label(full.removeprefix(of))
                yield Field(full, "part", label, about, default=info.default is not None, group=group)
            yield from fields_of(settings, f"{full}.", group, start)
        elif get_origin(annotation) is dict:
            yield from _entries(full, info, annotation, group)
        else:
            group = group if marker(info, First) is None else FIRST_GROUP
            yield _field(full, _label(full.removeprefix(of)), info, annotation, group, optional=optional)


def _entries(full: str, info: FieldInfo, annotation: Any, group: Part) -> Iterator[Field]:
    """A number field for each possible key of a dictionary."""
    _, number = get_args(annotation)
    given, entries = info.get_default(call_default_factory=True), marker(info, Entries)
    if entries is None or get_origin(number) is not Annotated:
        raise _unsupported(full, annotation)
    low, high, above = _bounds(full, number.__metadata__[0])
    for name, meaning in entries.names.items():
        yield Field(
            f"{full}.{name}", "number", _label(name), as_sentence(meaning), given.get(name), low, high, above,
            optional=True, entry=True, group=group,
        )  # fmt: skip


def _field(full: str, label: str, info: FieldInfo, annotation: Any, group: Part, *, optional: bool) -> Field:
    low = high = None
    above = False
    choices: Mapping[str, str] = {}
    kind: Kind
    if annotation is bool:
        kind = "yes"
    elif get_origin(annotation) is Literal:
        kind, choices = "choice", _choices(annotation)
    elif get_origin(annotation) is tuple:
        one = get_args(annotation)[0]
        choices = _choices(one)
        kind = "choices" if choices else "numbers"
        if not choices and (get_args(one) or (one,))[0] not in (int, float):
            raise _unsupported(full, annotation)
    elif annotation in (int, float):
        kind = "whole" if annotation is int else "number"
        low, high, above = _bounds(full, info)
    else:
        raise _unsupported(full, annotation)
    return Field(
        full,
        kind,
        label,
        as_sentence(info.description or ""),
        info.get_default(call_default_factory=True) if not info.is_required() else None,
        low,
        high,
        above,
        optional,
        choices,
        group=group,
    )


def _choices(annotation: Any) -> dict[str, str]:
    """The values of a Literal, or the keys of the writing tasks, each with its label; nothing for another type."""
    if annotation == TaskKey:
        return dict(task_choices())
    return {str(one): str(one) for one in get_args(annotation)} if get_origin(annotation) is Literal else {}


def _unsupported(full: str, annotation: Any) -> TypeError:
    return TypeError(
        f"the setting {full} has a type that forms do not support, {getattr(annotation, '__name__', annotation)}: "
        "use a number with bounds, a choice or a switch, or mark it NotAsked()"
    )


def _bounds(full: str, info: FieldInfo) -> tuple[float, float, bool]:
    """The least and the greatest value, and whether the least one is not allowed itself."""
    low = high = None
    above = False
    for one in info.metadata:
        if isinstance(one, annotated_types.Ge):
            low = float(one.ge)  # type: ignore[arg-type]
        elif isinstance(one, annotated_types.Gt):
            low, above = float(one.gt), True  # type: ignore[arg-type]
        elif isinstance(one, annotated_types.Le):
            high = float(one.le)  # type: ignore[arg-type]
        elif isinstance(one, annotated_types.Lt):
            high = float(one.lt)  # type: ignore[arg-type]
    if low is None or high is None:
        raise TypeError(f"the setting {full} has no bounds, so it cannot be part of a form")
    return low, high, above


def _label(name: str) -> str:
    words = name.replace(".", " ").replace("_", " ")
    words = words.replace("lora", "LoRA").replace("zero", "ZeRO").replace("gpu", "GPU")
    return words[0].upper() + words[1:]


def group_of(info: FieldInfo) -> tuple[type[BaseModel] | None, bool]:
    """The class of a setting that is a group of settings, and whether it may be None."""
    optional, annotation = plain(info.annotation)
    is_group = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return (annotation if is_group else None), optional


def plain(annotation: Any) -> tuple[bool, Any]:
    """Whether a setting may be None, and its type otherwise."""
    if get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [one for one in get_args(annotation) if one is not type(None)]
        if len(rest) == 1:
            return True, rest[0]
    return False, annotation


def is_filled_in(info: FieldInfo) -> bool:
    """Whether the site fills in a setting completely: paths, and settings that are marked so."""
    _, annotation = plain(info.annotation)
    one = get_args(annotation)[0] if get_origin(annotation) is tuple else annotation
    return marker(info, FilledIn) is not None or (isinstance(one, type) and issubclass(one, Path))


def always_on(info: FieldInfo) -> bool:
    """Whether a group cannot be turned off, because the site fills in a required setting of it."""
    group, _ = group_of(info)
    return group is not None and any(one.is_required() and is_filled_in(one) for one in group.model_fields.values())
