"""The base class of all settings, and the reader of settings files. Does not import torch, so that pages can validate settings."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from training.common.errors import MendableError
from training.common.signals import held_signals


class Settings(BaseModel):
    """Base class of all settings. Unknown names are errors, so that a misspelt setting is not silently ignored.

    A setting that was renamed accepts its old name (`validation_alias`); errors use the new one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, loc_by_alias=False)

    # A path is serialised by a function in Python, in which a signal's handler can run. What it raises, such as KeyboardInterrupt, becomes an
    # error of pydantic there.

    def model_dump(self, **options: Any) -> dict[str, Any]:
        with held_signals():
            return super().model_dump(**options)

    def model_dump_json(self, **options: Any) -> str:
        with held_signals():
            return super().model_dump_json(**options)


S = TypeVar("S", bound=Settings)


def read_settings(path: Path, kind: type[S]) -> S:
    """Read a TOML or JSON file. Raises MendableError, naming the file and the settings, if it is not valid."""
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
