"""What the rewards say of a story."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rewards say of a story, None where one is absent; `notes` are figures that are told and move nothing."""

    rewards: Mapping[str, float | None]
    notes: Mapping[str, float] = field(default_factory=dict)
