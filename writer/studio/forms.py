"""Makes forms from the settings classes of recipes, so that no recipe needs its own page.

Only fields of a known type with bounds become part of a form; paths never do. What is typed is converted here, and then checked by the
class itself, so that a run never holds a setting that its recipe would refuse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from training.common.tasks import TaskKey, task_choices
from training.config.markers import Entries, First, NotAsked, Part, marker
from writer.refusals import Refused
from writer.studio.registry import (
    DECLARED,
    always_on,
    checked,
    current,
    form_class,
    group_of,
    is_filled_in,
    plain,
    settings_of,
)

Kind = Literal["whole", "number", "choice", "choices", "yes", "numbers", "part"]


FIRST_GROUP = Part("Settings", -1)
LONGEST = 200
_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+")


@dataclass(frozen=True)
class Field:
    """`name` is the setting's own, with dots; a `part` turns a whole group on; an `entry` belongs to a dictionary, and is left out if it is empty."""

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


Row = tuple[Field, str | list[str], str]
"""A field with its input and its error."""


@dataclass
class Form:
    """`typed` contains the input and `errors` the errors, by field."""

    recipe: str
    about: str
    fields: list[Field]
    typed: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        return [(one, self._shown(one), self.errors.get(one.name, "")) for one in self.fields]

    def _shown(self, one: Field) -> str | list[str]:
        text = self.typed.get(one.name, one.shown)
        return text.split(", ") if one.kind == "choices" else text

    @property
    def groups(self) -> list[tuple[str, list[Row], bool]]:
        """The main fields, and the others by their parts; with whether a part has an error."""
        found: dict[Part, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row[0].group, []).append(row)
        groups = sorted(found.items(), key=lambda one: one[0].place)
        return [(part.title, rows, any(error for _, _, error in rows)) for part, rows in groups]


def form_of(recipe: str, values: Mapping[str, Any] | None = None) -> Form:
    """The form with the recipe's defaults, or with the values of a run."""
    if recipe not in DECLARED:
        raise Refused(f"There is no recipe {recipe!r}.", field="recipe")
    form = Form(recipe, DECLARED[recipe].about, list(fields_of(form_class(recipe))))
    if values:
        known = current(recipe, values)
        form.typed = {one.name: typed_of(_value(known, one)) for one in form.fields}
    return form


def _value(values: Mapping[str, Any], one: Field) -> Any:
    found: Any = values
    for part in one.name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None if one.entry else one.default
        found = found[part]
    return found is not None if one.kind == "part" else found


def typed_of(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, (tuple, list)):
        return ", ".join(typed_of(one) for one in value)
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def fields_of(kind: type[BaseModel], prefix: str = "", inside: Part = FIRST_GROUP, of: str = "") -> Iterator[Field]:
    """The fields of a settings class in order. `inside` is their group, and `of` the prefix of their names, with its dot."""
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
                about = " ".join((settings.__doc__ or "").split())
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
    low, high, above = _bounds(number.__metadata__[0])
    given, entries = info.get_default(call_default_factory=True), marker(info, Entries)
    assert entries is not None
    for name, meaning in entries.names.items():
        yield Field(
            f"{full}.{name}", "number", _label(name), meaning, given.get(name), low, high, above,
            optional=True, entry=True, group=group,
        )  # fmt: skip


def _field(full: str, label: str, info: FieldInfo, annotation: Any, group: Part, *, optional: bool) -> Field:
    low, high, above = _bounds(info)
    choices: Mapping[str, str] = {}
    kind: Kind
    if annotation is bool:
        kind = "yes"
    elif get_origin(annotation) is Literal:
        kind, choices = "choice", _choices(annotation)
    elif get_origin(annotation) is tuple:
        choices = _choices(get_args(annotation)[0])
        kind = "choices" if choices else "numbers"
    elif annotation in (int, float):
        kind = "whole" if annotation is int else "number"
        if low is None or high is None:
            raise TypeError(f"the setting {full} has no bounds, so it cannot be part of a form")
    else:
        raise TypeError(f"the setting {full} has a type that forms do not support: {annotation}")
    return Field(
        full,
        kind,
        label,
        info.description or "",
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


def _bounds(info: FieldInfo) -> tuple[float | None, float | None, bool]:
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
    return low, high, above


def _label(name: str) -> str:
    words = name.replace(".", " ").replace("_", " ")
    words = words.replace("lora", "LoRA").replace("zero", "ZeRO").replace("gpu", "GPU")
    return words[0].upper() + words[1:]


def read(recipe: str, typed: Mapping[str, str]) -> tuple[Form, dict[str, Any] | None]:
    """The submitted form, and its settings, or None if there are errors. Unknown names raise Refused."""
    form = form_of(recipe)
    known = {one.name: one for one in form.fields}
    if odd := sorted(set(typed) - set(known)):
        raise Refused(f"This recipe has no setting {odd[0][:80]!r}.")
    form.typed = {name: text.strip()[:LONGEST] for name, text in typed.items()}
    values: dict[str, Any] = {}
    off = {one.name for one in form.fields if one.kind == "part" and not form.typed.get(one.name)}
    for one in form.fields:
        if one.kind == "part":
            _put(values, one, None if one.name in off else {})
        elif not any(one.name.startswith(f"{part}.") for part in off):
            try:
                _put(values, one, _read(one, form.typed.get(one.name, "")))
            except Refused as refusal:
                form.errors[one.name] = refusal.detail
    if form.errors:
        return form, None
    try:
        found = checked(recipe, values)
    except ValidationError as error:
        for item in error.errors():
            name = ".".join(str(part) for part in item["loc"])
            form.errors[name if name in known else ""] = item["msg"].removeprefix("Value error, ").capitalize() + "."
        return form, None
    return form, settings_of(found)


def _put(values: dict[str, Any], one: Field, value: Any) -> None:
    *parts, last = one.name.split(".")
    for part in parts:
        values = values.setdefault(part, {})
        assert isinstance(values, dict)
    if value is not None or not one.entry:
        values[last] = value


def _read(one: Field, text: str) -> Any:
    if one.kind == "yes":
        return bool(text)
    if not text:
        if one.optional:
            return None
        if one.kind == "numbers":
            return ()
        if one.kind == "choices":
            raise Refused("Choose at least one.")
        raise Refused("This field is required.")
    if one.kind == "choice":
        return int(text) if _one_of(one, text).isdecimal() else text
    if one.kind == "choices":
        return tuple(_one_of(one, part.strip()) for part in text.split(","))
    if one.kind == "numbers":
        return tuple(_number(part) for part in text.split(","))
    number = _number(text)
    if one.kind == "whole" and not number.is_integer():
        raise Refused("Enter a whole number.")
    assert one.low is not None
    assert one.high is not None
    if not one.low <= number <= one.high or (one.above_low and number == one.low):
        least = f"more than {typed_of(one.low)}" if one.above_low else f"{typed_of(one.low)} or more"
        raise Refused(f"Enter a number, {least} and at most {typed_of(one.high)}.")
    return int(number) if one.kind == "whole" else number


def _one_of(one: Field, text: str) -> str:
    if text not in one.choices:
        raise Refused("Choose one from the list.")
    return text


def _number(text: str) -> float:
    try:
        text = text.strip()
        number = float(text.replace(",", "") if _THOUSANDS.fullmatch(text) else text)
    except ValueError:
        raise Refused("Enter a number.") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise Refused("Enter a number.")
    return number
