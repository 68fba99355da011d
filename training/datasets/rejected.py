"""Rows that a stage rejects. Each has a reason, and the reasons are counted."""

from __future__ import annotations

from enum import StrEnum


class Rejected(Exception):
    """`reason` is one of the stage's names, `why` explains it to a person."""

    def __init__(self, reason: StrEnum, why: str) -> None:
        super().__init__(why)
        self.reason, self.why = reason, why
