"""Where a run may write: never in or over something that it reads. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from training.common.errors import MendableError

INPUTS = "data"
"""The folder inside a run's folder that may hold its input: the studio writes it there."""
_OUTPUTS = ("", "model", "adapter", "checkpoints", "rollouts", "dataset")
_NO_INPUT = {"run_dir", "reference_cache"}


def check_places(settings: BaseModel, folder: Path) -> None:
    """Raise MendableError where a run would write in or over something that it reads, links followed."""
    if folder.is_file():
        return  # it cannot be a run's folder, which is said elsewhere
    outputs = [(folder / name).resolve() for name in _OUTPUTS]
    inside = (folder / INPUTS).resolve()
    for given in _inputs(settings):
        one = given.resolve()
        over = not one.is_relative_to(inside) and any(one.is_relative_to(output) for output in outputs)
        if over or (one.is_dir() and any(output.is_relative_to(one) for output in outputs)):
            raise MendableError(
                f"{given} is read by this run, which writes into {folder}, and so would write over it: choose another run_dir, or move the "
                "input out of it."
            )


def _inputs(settings: BaseModel) -> Iterator[Path]:
    """The paths among the settings."""
    for name in type(settings).model_fields:
        if name not in _NO_INPUT:
            yield from _paths(getattr(settings, name))


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, BaseModel):
        yield from _inputs(value)
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _paths(one)
