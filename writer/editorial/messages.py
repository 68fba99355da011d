"""Briefs and texts as messages for a model, and the hashes that identify training data."""

from __future__ import annotations

import hashlib
import json

from training.common.text import Message, count_words, length_note, story_request


def prompt_messages(
    *, title: str, premise: str, target: int, given: str = "", written: int | None = None
) -> list[Message]:
    """The prompt: the request and, if there is a text already, that text and the number of remaining words.

    `written` is the number of words in `given`, if it is known.
    """
    messages = story_request(title=title, premise=premise, target=target)
    if given.strip():
        messages += [
            {"role": "assistant", "content": given},
            length_note(target=target, written=count_words(given) if written is None else written),
        ]
    return messages


def completion_messages(text: str) -> list[Message]:
    return [{"role": "assistant", "content": text}]


def digest(messages: list[Message]) -> str:
    """SHA-256 of the messages as JSON in UTF-8, with sorted keys, and without spaces and escapes."""
    canonical = json.dumps(messages, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def row_digest(*parts: str) -> str:
    """The hash of a row of training data: SHA-256 of the digests of its prompt, chosen and rejected messages, each on a line."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
