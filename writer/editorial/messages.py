"""A brief and a text as the messages that a model sees, and the hashes by which training data is known again."""

from __future__ import annotations

import hashlib
import json

from training.common.text import Message, count_words, length_note, story_request


def prompt_messages(
    *, title: str, premise: str, target: int, given: str = "", written: int | None = None
) -> list[Message]:
    """What a model is asked: the request, and where a text stands already, that text and how many words are left.

    `written` are the words of `given`, where somebody has counted them.
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
    """SHA-256 of the messages as JSON in UTF-8: keys sorted, no blanks, no escapes."""
    canonical = json.dumps(messages, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def row_digest(*parts: str) -> str:
    """Of a row of training data: SHA-256 over the digests of its prompt, chosen and rejected messages, a line each."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
