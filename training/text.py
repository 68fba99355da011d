"""The text of a story, and what everybody must agree on about it: words, paragraphs, and how a story is asked for.

A story is plain Unicode: paragraphs parted by one blank line, ``* * *`` for a scene break, ``## `` for a chapter heading,
``*...*`` for emphasis. The narrator, the recipes and the pages count words with the counter of this module;
`writer/frontend/src/text.ts` holds the same pattern for the browser, and a test compares the two.
"""

from __future__ import annotations

from typing import Literal, TypedDict

import regex

_IDEOGRAPH = r"\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}"
_LETTER = rf"[[\p{{L}}\p{{N}}\p{{M}}]--[{_IDEOGRAPH}]]"
WORD = regex.compile(rf"[{_IDEOGRAPH}]|{_LETTER}+(?:['’]{_LETTER}+)*", regex.VERSION1)

SCENE_BREAK = "* * *"


def count_words(text: str) -> int:
    """Count words: runs of letters and digits (an apostrophe inside joins them), and each Chinese or Japanese character.

    >>> count_words("The lamp-lighter didn't wait.")
    5
    >>> count_words("孔乙己 is a story")
    6
    """
    return sum(1 for _ in WORD.finditer(text))


def paragraphs(text: str) -> list[str]:
    """Split a story at its blank lines; empty paragraphs are dropped."""
    return [block.strip("\n") for block in regex.split(r"\n[^\S\n]*\n\s*", text) if block.strip()]


def storable(text: str) -> str:
    """Replace what PostgreSQL and UTF-8 cannot hold (NUL, lone surrogates) by U+FFFD, one character for one."""
    return regex.sub(r"[\x00\ud800-\udfff]", "�", text)


class Message(TypedDict):
    role: Literal["system", "user", "assistant"]
    content: str


def round_words(words: int) -> int:
    """Round to two significant digits, at least 10: what a person would say, and few enough values to learn from.

    >>> [round_words(n) for n in (3, 47, 143, 8870)]
    [10, 47, 140, 8900]
    """
    words = max(words, 10)
    unit = int(10 ** (len(str(words)) - 2))
    return (words + unit // 2) // unit * unit


def story_request(
    *, title: str, premise: str, target: int, written: int = 0, landing: bool = False, outline: str = ""
) -> list[Message]:
    """The messages that ask a model for a story, or for the rest of one.

    `target` and `written` are words. With `written` the answer is to go on from text that follows as the beginning of
    the assistant's turn; with `landing` it is to end within the words that are left. The recipes train on exactly this form. The
    brief comes first and the length after it, "N words long" without a thousands comma, as POLARIS' parser wants it.
    """
    lines = ["Write a short story."]
    if title:
        lines.append(f"Title: {title}")
    if premise:
        lines.append(f"Premise: {premise}")
    if outline:
        lines.append(f"Outline:\n{outline}")
    lines.append(f"The story should be approximately {target} words long.")
    if written:
        left = round_words(target - written)
        lines.append(f"About {round_words(written)} words are written; go on from the last of them.")
        lines.append(f"About {left} words are left" + (": bring the story to its end within them." if landing else "."))
    return [{"role": "user", "content": "\n".join(lines)}]
