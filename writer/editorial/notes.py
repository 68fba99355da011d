"""Editors' notes on a story, for its writer: they are shown on the present text, whichever revision they were made on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from writer.editorial.anchoring import Found, find
from writer.editorial.models import Mark
from writer.editorial.reading import mark_json
from writer.stories.models import Story
from writer.stories.text import paragraphs


@dataclass(frozen=True)
class Note:
    mark: Mark
    found: Found | None

    @property
    def state(self) -> str:
        """certain, uncertain or gone."""
        if self.found is None:
            return "gone"
        return "certain" if self.found.certain else "uncertain"


def as_shown(text: str) -> str:
    return "\n\n".join(paragraphs(text))


def marks_on(story: Story) -> list[Mark]:
    marks = Mark.objects.filter(take__brief__story=story, removed=None)
    return list(marks.select_related("version", "by", "take").defer("take__text", "take__origins"))


def notes_on(story: Story, text: str) -> list[Note]:
    """The notes in the order of the text; those whose words are gone come last."""
    text = as_shown(text)
    notes = [
        Note(mark, find(text, quote=mark.quote, before=mark.before, after=mark.after, near=mark.start))
        for mark in marks_on(story)
    ]
    return sorted(notes, key=lambda note: (note.found is None, note.found.start if note.found else note.mark.start))


def notes_json(notes: list[Note]) -> list[dict[str, Any]]:
    """A note in the format of the marking page, with `state` and `by`; without a place if its words are gone."""
    return [
        mark_json(note.mark)
        | {
            "start": note.found.start if note.found else None,
            "end": note.found.end if note.found else None,
            "state": note.state,
            "by": note.mark.by.name if note.mark.by else "",
        }
        for note in notes
    ]
