"""A row that a stage does not make, and why: each stage has names of its own for the reasons, which are counted."""

from __future__ import annotations

from enum import StrEnum


class Dropped(Exception):
    """`reason` is one of the stage's names, `why` says it to a person."""

    def __init__(self, reason: StrEnum, why: str) -> None:
        super().__init__(why)
        self.reason, self.why = reason, why
