"""The text of a story: words, paragraphs, sentences, and the messages that ask a model for it.

A story is plain Unicode: paragraphs separated by one blank line, ``* * *`` for a scene break, ``## `` for a chapter heading,
``*...*`` for emphasis. The narrator, the recipes and the pages count words with the counter of this module;
`writer/frontend/src/shared/text.ts` has the same pattern for the browser, and a test compares the two.
"""

from __future__ import annotations

from typing import Literal, TypedDict

import regex

IDEOGRAPH = r"\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}"
_LETTER = rf"[[\p{{L}}\p{{N}}\p{{M}}]--[{IDEOGRAPH}]]"
WORD = regex.compile(rf"[{IDEOGRAPH}]|{_LETTER}+(?:['’]{_LETTER}+)*", regex.VERSION1)

SCENE_BREAK = "* * *"


def count_words(text: str) -> int:
    """Count words: runs of letters and digits (an apostrophe inside joins them), and each Chinese or Japanese character.

    >>> count_words("The lamp-lighter didn't wait.")
    5
    >>> count_words("孔乙己 is a story")
    6
    """
    return len(WORD.findall(text))


def paragraphs(text: str) -> list[str]:
    """Split a story at its blank lines, without empty paragraphs."""
    return [block.strip("\n") for block in regex.split(r"\n[^\S\n]*\n\s*", text) if block.strip()]


def storable(text: str) -> str:
    """Replace each character that PostgreSQL or UTF-8 cannot store (NUL, lone surrogates) by U+FFFD."""
    return regex.sub(r"[\x00\ud800-\udfff]", "�", text)


class Message(TypedDict):
    role: Literal["system", "user", "assistant"]
    content: str


def as_sentence(text: str) -> str:
    """Return a text with a capital at its start and a full stop at its end, unless it ends a sentence already.

    >>> [as_sentence(text) for text in ("the longest text", "Limits the tokens.", "LoRA, or all weights?", "")]
    ['The longest text.', 'Limits the tokens.', 'LoRA, or all weights?', '']
    """
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", "…")) else "." * bool(text))


def round_words(words: int) -> int:
    """Round to two significant digits, and to at least 10, so that there are few values to learn from.

    >>> [round_words(n) for n in (3, 47, 143, 8870)]
    [10, 47, 140, 8900]
    """
    words = max(words, 10)
    unit = int(10 ** (len(str(words)) - 2))
    return (words + unit // 2) // unit * unit


def story_request(*, title: str, premise: str, target: int, outline: str = "") -> list[Message]:
    """Return the message that asks a model for a story of `target` words. A story that is begun already is the assistant's turn after it.

    The brief comes first and the length last, as "N words long" without a thousands separator, which POLARIS' parser needs.
    """
    lines = ["Write a short story."]
    if title:
        lines.append(f"Title: {title}")
    if premise:
        lines.append(f"Premise: {premise}")
    if outline:
        lines.append(f"Outline:\n{outline}")
    lines.append(f"The story should be approximately {target} words long.")
    return [{"role": "user", "content": "\n".join(lines)}]


def length_note(*, target: int, written: int, landing: bool = False) -> Message:
    """Return a message with the words that are written and left, between two turns of the assistant: the story so far, and its continuation.

    The second turn begins with the last sentence so far (`last_sentence_start`), so that the model continues after its last word. Everything
    before the note is already in the model server's prefix cache. The demo model is trained on this form.
    """
    left = round_words(target - written)
    rest = f"About {left} words are left" + (": bring the story to its end within them." if landing else ".")
    return {
        "role": "user",
        "content": f"About {round_words(written)} words are written. {rest} Go on from the last word.",
    }


SENTENCE_END = regex.compile(
    r"""\n\n+ | [.!?…]+[”’"'»)]*\s+(?=[“‘«"'(]*[\p{Lu}\p{Lo}]) | [。！？]+[」』”’）]*""", regex.VERBOSE
)


def sentence_bounds(text: str) -> list[int]:
    """Return the starts of sentences, and the end of the text.

    >>> sentence_bounds("It rained. He left.")
    [0, 11, 19]
    """
    return [0, *(match.end() for match in SENTENCE_END.finditer(text)), len(text)]


def last_sentence_start(text: str, most: int = 300) -> int:
    """Return the start of the last sentence of `text`, complete or not, but at most `most` characters before the end.

    >>> last_sentence_start("It rained. He left. Then he")
    20
    """
    tail = text.rstrip()[-most:]
    offset = len(text.rstrip()) - len(tail)
    ends = [match.end() for match in SENTENCE_END.finditer(tail) if match.end() < len(tail)]
    if ends:
        return offset + ends[-1]
    blank = regex.search(r"\s+", tail) if offset else None
    return offset + (blank.end() if blank else 0)
