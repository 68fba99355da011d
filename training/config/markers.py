"""What a setting says of itself to a form, as metadata of its annotation: `url: Annotated[str, FILLED_IN]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class FilledIn:
    """The site fills the setting in when a run begins, so no form asks for it and no run keeps it."""


@dataclass(frozen=True)
class Part:
    """The setting is a group with a heading of its own on a form; groups stand in the order of `place`, 0 to 99."""

    title: str
    place: int


FILLED_IN = FilledIn()


def is_filled_in(info: FieldInfo) -> bool:
    return any(isinstance(one, FilledIn) for one in info.metadata)


def part_of(info: FieldInfo) -> Part | None:
    return next((one for one in info.metadata if isinstance(one, Part)), None)


@dataclass(frozen=True)
class Entries:
    """The setting is a dictionary of numbers with these names, and what each means."""

    names: Mapping[str, str]


def entries_of(info: FieldInfo) -> Mapping[str, str]:
    return next(one.names for one in info.metadata if isinstance(one, Entries))
