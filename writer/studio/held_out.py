"""Held-out briefs: one in ten, always the same ones, so that versions can be compared on them for years."""

from __future__ import annotations

ONE_IN = 10


def is_held_out(brief_sha256: str) -> bool:
    return int(brief_sha256[:8], 16) % ONE_IN == 0
