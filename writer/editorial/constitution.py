"""The constitution as a TOML file with one `[[principle]]` for each, such as `constitution.toml` in this folder."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from training.common.records import Principle
from writer.editorial.models import PrincipleVersion
from writer.refusals import Refused
from writer.stories.text import checked_text

OURS = Path(__file__).with_name("constitution.toml")
FILE_BYTES, MOST_PRINCIPLES = 2_000_000, 1000
_KEY = "key"


def read_constitution(text: str) -> list[Principle]:
    """The principles of a file. Raises `Refused` with the first error and its place."""
    text = checked_text(text, "file", most=FILE_BYTES)
    try:
        entries = tomllib.loads(text).get("principle")
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"The file is not TOML: {error}.", field="file") from None
    if not isinstance(entries, list) or not entries:
        raise Refused("The file has no [[principle]].", field="file")
    if len(entries) > MOST_PRINCIPLES:
        raise Refused(f"The file has {len(entries):,} principles; the limit is {MOST_PRINCIPLES:,}.", field="file")
    found: dict[str, Principle] = {}
    for number, entry in enumerate(entries, 1):
        name = f"principle {number}" + (f" ({entry[_KEY]})" if isinstance(entry, dict) and _KEY in entry else "")
        try:
            principle = Principle.model_validate(entry)
        except ValidationError as error:
            raise Refused(f"In {name}: {_first(error)}.", field="file") from None
        if principle.key in found:
            raise Refused(f"In {name}: the key occurs twice.", field="file")
        found[principle.key] = principle
    return list(found.values())


def write_constitution(principles: Iterable[Principle]) -> str:
    entries = [principle.model_dump(mode="json") for principle in principles]
    return tomli_w.dumps({"principle": entries}, multiline_strings=True)


def checked_principle(typed: Mapping[str, Any]) -> Principle:
    """A principle from the input of an editor. Raises `Refused` with the invalid field."""
    try:
        return Principle.model_validate(typed)
    except ValidationError as error:
        told = _first(error)
        raise Refused(f"{told[0].upper()}{told[1:]}.", field=str(error.errors()[0]["loc"][0])) from None


def record_of(version: PrincipleVersion) -> Principle:
    """The version as a record of the training library. Its principle must be loaded."""
    return Principle(
        key=version.principle.key,
        name=version.name,
        domains=version.domains,
        tasks=version.tasks,
        explanation=version.explanation,
        examples=version.examples,
    )


def _first(error: ValidationError) -> str:
    """The first error in plain words."""
    found = error.errors()[0]
    where = " ".join(str(part + 1) if isinstance(part, int) else part.replace("_", " ") for part in found["loc"])
    match found["type"]:
        case "missing":
            return f"the {where} is missing"
        case "extra_forbidden":
            return f"there is no field {where}"
        case "too_short" | "string_too_short":
            return f"the {where} is empty"
        case "value_error":
            return f"{where}: {found['ctx']['error']}".removeprefix(": ")
        case _:
            return f"{where}: {found['msg'][0].lower()}{found['msg'][1:]}"
