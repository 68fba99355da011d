"""A row that a stage leaves out of its data set, and the reason."""

from __future__ import annotations

from enum import StrEnum


class Dropped(Exception):
    """Raised for a row to leave out. `reason` is one of the stage's own names, which are counted; `why` explains it."""

    def __init__(self, reason: StrEnum, why: str) -> None:
        super().__init__(why)
        self.reason, self.why = reason, why
