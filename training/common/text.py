"""The text of a story, and what everybody must agree on about it: words, paragraphs, and how a story is asked for.

A story is plain Unicode: paragraphs parted by one blank line, ``* * *`` for a scene break, ``## `` for a chapter heading,
``*...*`` for emphasis. The narrator, the recipes and the pages count words with the counter of this module;
`writer/frontend/src/shared/text.ts` holds the same pattern for the browser, and a test compares the two.
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


def story_request(*, title: str, premise: str, target: int, outline: str = "") -> list[Message]:
    """The message that asks a model for a story of `target` words. What is written already stands in the assistant's turn.

    The brief comes first and the length after it, "N words long" without a thousands comma, as POLARIS' parser wants it.
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


_ASKED = regex.compile(r"(\d{1,3}(?:,\d{3})+|\d+)\s+words\s+long", regex.IGNORECASE)


def words_asked(text: str) -> int | None:
    """The length that a request names last. POLARIS reads digits without a thousands comma (recipes.md 1.2); here they may have one.

    >>> words_asked(story_request(title="", premise="", target=900)[0]["content"]), words_asked("1,200 words long!"), words_asked("long")
    (900, 1200, None)
    """
    found = _ASKED.findall(text)
    return int(found[-1].replace(",", "")) if found else None


def length_note(*, target: int, written: int, landing: bool = False) -> Message:
    """How far the story is: said between two turns of the assistant, the story so far and its rest.

    The second turn begins with the last sentence of what is written (`last_sentence`), so that the model goes on from its
    last word. All that comes before the note is what the model server has in its cache already. The recipes train on this form.
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
    """Where sentences begin, and where the last one ends; a place comes twice where the text ends with a sentence.

    >>> sentence_bounds("It rained. He left.")
    [0, 11, 19]
    """
    return [0, *(match.end() for match in SENTENCE_END.finditer(text)), len(text)]


def last_sentence(text: str, most: int = 300) -> int:
    """Where the last sentence of `text` begins, whether it is whole or not; `most` characters before its end at the earliest.

    >>> last_sentence("It rained. He left. Then he")
    20
    """
    tail = text.rstrip()[-most:]
    begun = len(text.rstrip()) - len(tail)
    ends = [match.end() for match in SENTENCE_END.finditer(tail) if match.end() < len(tail)]
    if ends:
        return begun + ends[-1]
    blank = regex.search(r"\s+", tail) if begun else None
    return begun + (blank.end() if blank else 0)
