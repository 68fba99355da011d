"""Checks and normalises input. Raises `Refused` with the name of the field and what to do."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from training.common.sampling import Sampling
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


def checked_sampling(sampling: Sampling) -> Sampling:
    if not 0 <= sampling.temperature <= 2:
        raise Refused("The temperature must be from 0 to 2.", field="temperature")
    if not 0 <= sampling.min_p <= 1:
        raise Refused("min-p must be from 0 to 1.", field="min_p")
    if not 0 < sampling.top_p <= 1:
        raise Refused("top_p must be more than 0 and at most 1.", field="top_p")
    if sampling.seed is not None and not 0 <= sampling.seed < 2**31:
        raise Refused("The seed must be a whole number from 0 to 2,147,483,647.", field="seed")
    return sampling


@lru_cache(maxsize=64)
def can_think(tokenizer: str) -> bool:
    """Whether the chat template in this folder has a part for thinking. A published name counts as one that has: its template is not here."""
    folder = Path(tokenizer)
    template, settings = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    try:
        text = template.read_text("utf-8") if template.is_file() else str(json.loads(settings.read_bytes()))
    except (OSError, ValueError):
        return True
    return "think" in text
