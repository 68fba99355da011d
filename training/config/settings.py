"""The base of all settings, and how a settings file is read. No torch is imported here, so that a page can validate a run before it starts."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from training.common.errors import MendableError


class Settings(BaseModel):
    """Base of all settings: an unknown name is an error, so that a misspelt setting is never silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Settings)


def read_settings(path: Path, kind: type[S]) -> S:
    """Read a TOML or JSON file; what is wrong with it is said in one line that names the file and the setting."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise MendableError(f"The settings file {path} cannot be read: {error.strerror}.") from None
    try:
        values = json.loads(raw) if path.suffix == ".json" else tomllib.loads(raw.decode())
    except ValueError as error:
        raise MendableError(f"The settings file {path} is not valid {path.suffix[1:] or 'TOML'}: {error}.") from None
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors()
        )
        raise MendableError(f"The settings file {path} has mistakes: {wrong}.") from None
