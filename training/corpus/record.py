"""A story during the import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.corpus.filtering import FilteredStory
from training.corpus.split import Links


@dataclass(slots=True)
class Record:
    """A story, where it is from, and what is known about it."""

    id: str
    source: str
    folder: str
    story: FilteredStory
    facts: dict[str, Any]
    author: str = ""
    held_out: bool = False

    @property
    def links(self) -> Links:
        return Links(self.story.author, self.story.anthology, self.folder)
