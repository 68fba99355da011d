"""Checks and normalises input. Raises `Refused` with the name of the field and what to do."""

from __future__ import annotations

from writer.refusals import Refused
from writer.stories.models import MAX_WORDS, MIN_WORDS, PREMISE_CHARS, TEXT_CHARS, TITLE_CHARS
from writer.stories.text import checked_text


def checked_title(title: str) -> str:
    return checked_text(title, "title", most=TITLE_CHARS, one_line=True, required=True)


def checked_premise(premise: str) -> str:
    return checked_text(premise, "premise", most=PREMISE_CHARS, required=True)


def checked_story(text: str) -> str:
    return checked_text(text, "text", most=TEXT_CHARS)


def checked_target(words: int) -> int:
    if not MIN_WORDS <= words <= MAX_WORDS:
        raise Refused(f"A story can have {MIN_WORDS:,} to {MAX_WORDS:,} words.", field="target_words")
    return words


def checked_key(key: str, field: str) -> str:
    return checked_text(key, field, most=64, one_line=True, required=True)
