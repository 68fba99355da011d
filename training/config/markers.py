"""Instructions for the forms of settings, as metadata of annotations: `replay: Annotated[bool, FilledIn()] = False`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic.fields import FieldInfo

Marker = TypeVar("Marker")
UNTRIED = "Computed or tried on processors: no GPU has run this yet."
"""Said of each thing that needs a GPU, until one has run it."""


@dataclass(frozen=True)
class FilledIn:
    """The site sets the value when a run starts: no form shows it and no stored run has it. Paths are filled in without this marker.

    `example` is its value while the other settings are checked; without one, a setting that has no default gets "filled-in".
    """

    example: Any = None


@dataclass(frozen=True)
class NotAsked:
    """No form shows the setting, because its default suits all runs."""


@dataclass(frozen=True)
class First:
    """The setting is in the first section of a form, wherever it is declared."""


@dataclass(frozen=True)
class Part:
    """The setting is a group, which is a section of a form. Sections are ordered by `place`."""

    title: str
    place: int


@dataclass(frozen=True)
class Entries:
    """The setting is a dictionary of numbers with these possible keys, and what each means."""

    names: Mapping[str, str]


def marker(info: FieldInfo, kind: type[Marker]) -> Marker | None:
    """Return the marker of this kind on a setting, or None."""
    return next((one for one in info.metadata if isinstance(one, kind)), None)
