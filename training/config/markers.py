"""What a setting says of itself to a form, as metadata of its annotation: `replay: Annotated[bool, FilledIn()] = False`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic.fields import FieldInfo

Marker = TypeVar("Marker")


@dataclass(frozen=True)
class FilledIn:
    """The site fills the setting in when a run begins: no form asks for it and no stored run keeps it. Every path is filled in, marked or not.

    `example` stands in its place while the other settings are checked; without one a setting that has no default gets the word "filled-in".
    """

    example: Any = None


@dataclass(frozen=True)
class NotAsked:
    """No form asks for the setting, because its default suits everybody."""


@dataclass(frozen=True)
class First:
    """The setting stands in the first group of a form, wherever it is declared."""


@dataclass(frozen=True)
class Part:
    """The setting is a group with a heading of its own on a form. Groups stand in the order of `place`."""

    title: str
    place: int


@dataclass(frozen=True)
class Entries:
    """The setting is a dictionary of numbers, which may have entries of these names; each says what it means."""

    names: Mapping[str, str]


def marker(info: FieldInfo, kind: type[Marker]) -> Marker | None:
    """The marker of this kind on a setting, or None."""
    return next((one for one in info.metadata if isinstance(one, kind)), None)
