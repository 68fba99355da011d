"""Makes forms from the settings classes of recipes, so that no recipe needs its own page.

`training.config.fields` says which settings are fields. What is typed is converted here, and then checked by the class itself, so that a
run never holds a setting that its recipe would refuse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from training.common.text import as_sentence
from training.config.fields import Field, fields_of, typed_of
from training.config.markers import Part
from writer.refusals import Refused
from writer.studio.registry import DECLARED, checked, current, form_class, settings_of

LONGEST = 200
_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+")

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
            form.errors[name if name in known else ""] = as_sentence(item["msg"].removeprefix("Value error, "))
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
        return tuple(number_typed(part) for part in text.split(","))
    number = number_typed(text)
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


def number_typed(text: str, field: str = "") -> float:
    """Return the number that a person typed. Raises Refused."""
    try:
        text = text.strip()
        number = float(text.replace(",", "") if _THOUSANDS.fullmatch(text) else text)
    except ValueError:
        raise Refused("Enter a number.", field=field) from None
    if number != number or number in (float("inf"), float("-inf")):
        raise Refused("Enter a number.", field=field)
    return number
