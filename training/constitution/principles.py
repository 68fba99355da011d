"""Reading principles from a TOML or JSON file with `[[principle]]` entries, such as an exported constitution."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from pydantic import Field, ValidationError

from training.common.errors import MendableError
from training.common.records import Principle


class VersionedPrinciple(Principle):
    """A principle with the number of its wording."""

    version: int = Field(1, ge=1)


def read_principles(path: Path) -> list[VersionedPrinciple]:
    """Return the principles of a file in its order. Raises MendableError if it cannot be read or an entry is wrong."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise MendableError(f"The constitution {path} cannot be read: {error.strerror}.") from None
    try:
        entries = (json.loads(raw) if path.suffix == ".json" else tomllib.loads(raw.decode())).get("principle")
    except (ValueError, AttributeError) as error:
        raise MendableError(
            f"The constitution {path} is not valid {path.suffix[1:].upper() or 'TOML'}: {error}."
        ) from None
    if not isinstance(entries, list) or not entries:
        raise MendableError(f"The constitution {path} has no [[principle]].")
    found: dict[str, VersionedPrinciple] = {}
    for number, entry in enumerate(entries, 1):
        try:
            one = VersionedPrinciple.model_validate(entry)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise MendableError(f"{path}, principle {number}: {where}: {first['msg']}.") from None
        if one.key in found:
            raise MendableError(f"{path}, principle {number}: the key {one.key} occurs twice.")
        found[one.key] = one
    return list(found.values())
