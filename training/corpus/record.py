"""A story on its way through the import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.corpus.judged import Judged
from training.corpus.split import Tie


@dataclass(slots=True)
class Record:
    """Where it is from, what it is, and what is known about it."""

    id: str
    source: str
    folder: str
    story: Judged
    facts: dict[str, Any]
    author: str = ""
    held_out: bool = False

    @property
    def tie(self) -> Tie:
        return Tie(self.story.author, self.story.anthology, self.folder)
