"""Exports a story as a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from django.utils.text import slugify

from training.common.text import SCENE_BREAK
from writer.stories.models import Story
from writer.stories.reading import whole

Format = Literal["md", "txt"]
FORMATS: dict[str, Format] = {"md": "md", "txt": "txt"}


@dataclass(frozen=True)
class File:
    name: str
    content_type: str
    content: bytes


def export(*, story: Story, kind: Format) -> File:
    """`txt` is the text of the story, character for character; `md` has the title above it."""
    text = whole(story).text
    name = slugify(story.title, allow_unicode=True)[:80] or "story"
    if kind == "txt":
        return File(f"{name}.txt", "text/plain; charset=utf-8", text.encode())
    return File(f"{name}.md", "text/markdown; charset=utf-8", markdown(story.title, text).encode())


_MARKS = re.compile(r"[\\`\[\]<>&_~|$#]")
_FIRST = re.compile(r"[+=-]|\*+(?:\s|$)")
_LIST_NUMBER = re.compile(r"\d{1,9}(?=[.)](?:\s|$))")


def markdown(title: str, text: str) -> str:
    """The text as Markdown in which only the marks of stories (`## `, `* * *`, `*...*`) have a meaning; HTML is escaped."""
    blocks = [f"# {_escape(' '.join(title.split()))}"]
    for block in re.split(r"\n[ \t]*\n\s*", text.strip()):
        if block.strip() == SCENE_BREAK:
            blocks.append(SCENE_BREAK)
        elif block.startswith("## "):
            blocks.append("## " + _escape(" ".join(block[3:].split())))
        else:
            lines = [line.strip() for line in block.split("\n")]
            blocks.append("\\\n".join(_escape(line) for line in lines if line))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _escape(line: str) -> str:
    number = _LIST_NUMBER.match(line)
    if number:
        return number[0] + "\\" + _MARKS.sub(r"\\\g<0>", line[number.end() :])
    escaped = _MARKS.sub(r"\\\g<0>", line)
    return "\\" + escaped if _FIRST.match(escaped) else escaped
