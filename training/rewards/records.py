"""What all rewards together give a story."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StoryScore:
    """The rewards of a story by name, None where one is absent; `notes` are figures that are reported and move nothing."""

    rewards: Mapping[str, float | None]
    notes: Mapping[str, float] = field(default_factory=dict)
