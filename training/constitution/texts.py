"""Good texts: texts worth learning from, which violations are made of and requests are found for.

A line is a conversation whose last answer is the text, or a story of `training corpus`. It may have an `id`, `task`, `domain` and `language`, a
`group` that stays on one side of the split (an author), and `held_out` if the file is already split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, model_validator

from training.common.records import Domain
from training.common.tasks import TaskKey
from training.common.text import count_words, length_note, round_words, story_request
from training.datasets import shapes
from training.datasets.jsonl import ChatMessage, Messages, read_jsonl


class GoodText(BaseModel):
    """A text, with the messages that asked for it."""

    id: str = ""
    prompt: Messages
    text: str = Field(min_length=1)
    target: int = 0
    task: TaskKey = "write"
    domain: Domain = "fiction"
    language: str = "en"
    group: str = ""
    held_out: bool | None = None
    start: int = 0
    """The offset of an excerpt in the text of the line, in characters."""

    @model_validator(mode="before")
    @classmethod
    def from_line(cls, line: Any) -> Any:
        if not isinstance(line, dict):
            return line
        if line.keys() & {"messages", "completion", "conversations", "instruction"}:
            messages = shapes.dialogue(line).get("messages")
            if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
                raise ValueError("it has no messages")
            return line | {"prompt": messages[:-1], "text": ChatMessage.model_validate(messages[-1]).parts[1]}
        if "prompt" not in line and "text" in line:
            target = round_words(count_words(str(line["text"])))
            prompt = story_request(
                title=str(line.get("title", "")), premise=str(line.get("premise", "")), target=target
            )
            return {"group": line.get("author", ""), "target": target} | line | {"prompt": prompt}
        return line

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()


def read_good(paths: Iterable[Path]) -> list[GoodText]:
    """Return each text once, with an id, in the order of the hashes, so that the order of the files has no effect."""
    found: dict[str, GoodText] = {}
    for _, line in read_jsonl(paths, GoodText):
        sha256 = line.sha256
        found.setdefault(sha256, line if line.id else line.model_copy(update={"id": sha256[:16]}))
    return [found[sha256] for sha256 in sorted(found)]


def excerpt(good: GoodText, *, words: int, max_before: int) -> GoodText:
    """Return whole paragraphs with about `words` words, after at most `max_before` words, which become part of the prompt.

    The hash of the text decides where they begin. A text that is short enough is returned whole.
    """
    blocks = good.text.split("\n\n")
    counts = [count_words(block) for block in blocks]
    if sum(counts) <= words * 1.2:
        return good
    starts, before = [], 0
    for number, count in enumerate(counts):
        if before <= max_before and sum(counts[number:]) >= words // 2:
            starts.append((number, before))
        before += count
    start, before = starts[int(good.sha256[:8], 16) % len(starts)]
    end, total = start, 0
    while end < len(blocks) and (end == start or total + counts[end] <= words):
        total += counts[end]
        end += 1
    prompt = list(good.prompt)
    if start:
        note = length_note(target=max(good.target, sum(counts)), written=before)
        prompt += [
            ChatMessage(role="assistant", content="\n\n".join(blocks[:start])),
            ChatMessage(role="user", content=note["content"]),
        ]
    begin = len("\n\n".join(blocks[:start])) + 2 if start else 0
    return good.model_copy(update={"prompt": prompt, "text": "\n\n".join(blocks[start:end]), "start": begin})


def is_held_out(good: GoodText, share: float) -> bool:
    """Whether the text is held out: as its line says, otherwise by the hash of its group, or of its requests, for this share of them."""
    if good.held_out is not None:
        return good.held_out
    group = good.group or "\n".join(message.content for message in good.prompt if message.role == "user")
    return int(hashlib.sha256(group.encode("utf-8", "surrogatepass")).hexdigest()[:8], 16) < share * 2**32
