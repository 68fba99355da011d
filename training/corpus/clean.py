"""Cleaning the text of a story from any source. Cleaning is idempotent.

Typographic quotes, dashes and full-width punctuation are kept. Invisible characters (controls, soft hyphens, zero-width
characters) are removed, ligatures and special spaces are replaced, and lines that are not the author's are removed.
"""

from __future__ import annotations

import re
import unicodedata

import regex

from training.common.text import SCENE_BREAK
from training.corpus.flatten import ORNAMENT

_LIGATURES = {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
_DASHES = {"⸺": "——", "⸻": "———", "―": "—"}  # the two-em, the three-em and the horizontal bar
_INVISIBLE = [
    0xAD,
    0x180E,
    0x200B,
    0x200E,
    0x200F,
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2065),
    *range(0x2066, 0x2070),
]
_INVISIBLE += [0xFEFF, *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080), *range(0xD800, 0xE000), *range(0xFDD0, 0xFDF0)]
_SPACES = [0x09, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F]
_TABLE: dict[int, str] = {
    **dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], ""),
    **dict.fromkeys(_INVISIBLE, ""),
    **dict.fromkeys(_SPACES, " "),
    **{ord(character): replacement for character, replacement in (_LIGATURES | _DASHES).items()},
    **dict.fromkeys([0x0A, 0x2028, 0x85], "\n"),
    **dict.fromkeys([0x2029, 0x0C], "\n\n"),
}
_REPLACED = {chr(code): replacement for code, replacement in _TABLE.items() if code != 0x0A}
_JOINERS = regex.compile(
    r"(?<![\p{Arab}\p{Deva}\p{Beng}\p{Taml}\p{Telu}\p{Thai}\p{So}\p{Emoji_Modifier}\ufe0f])[\u200c\u200d]+"
)
_BOILERPLATE = regex.compile(
    r"\[?(?:illustration|image|picture|footnote)\b[^\]\n]{0,200}\]|this page (?:is )?intentionally (?:left )?blank\.?"
    r"|all rights reserved\.?|(?:https?://|www\.)\S+|.{0,80}\bproject gutenberg\b.{0,200}"
    r"|(?:scanned|proofed|digiti[sz]ed|e-?text(?: was)? prepared|produced) by .{0,200}|(?:click|tap) here\b.{0,80}"
    r"|(?:back to|return to)(?: the)? (?:top|contents|table of contents)\.?|\[?\(?(?:to be )?continued (?:on|from) page \d+\)?\]?\.?",
    regex.IGNORECASE,
)
_THE_END = regex.compile(r"[\W_]*(?:the end|finis|fin|end|全文完|完|（完）|\(完\))[\W_]*", regex.IGNORECASE)

_HEADING = re.compile(r"(?:(?i:chapter|part) )?(?:[IVXL]{1,7}|\d{1,2}|(?i:chapter|part) (?i:one|two|three|four|five|six|seven|eight|nine|ten))"
                      r"(?:\.|: [^\n.!?;,:”]{2,50})?")  # fmt: skip


def clean(text: str) -> str:
    """Return the text in the format of `training.common.text`.

    >>> clean("The ﬁ\\u00adrst\\u00a0 night .\\r\\n\\r\\n\\r\\n***\\r\\n\\r\\nHe--waited.")
    'The first night .\\n\\n* * *\\n\\nHe—waited.'
    """
    text = _replace_characters(text.replace("\r\n", "\n").replace("\r", "\n"))
    if "\u200c" in text or "\u200d" in text:
        text = _JOINERS.sub("", text)
    text = unicodedata.normalize("NFC", text)
    if "--" in text:
        text = re.sub(r"(?<=[^\s-])(-{2}|-{4})(?=[^\s-])", lambda found: "—" * (len(found[0]) // 2), text)
    text = re.sub(r" {2,}", " ", text)
    text = "\n".join(line.strip(" \u3000") for line in text.split("\n")).strip("\n")
    blocks = re.split(r"\n{2,}", text)
    headings = {block for block in blocks if len(block) < 70 and _HEADING.fullmatch(block)}
    kept: list[str] = []
    for block in blocks:
        if block in headings and len(headings) > 1:
            block = f"## {block}"
        if _is_ornament(block):
            if kept and kept[-1] != SCENE_BREAK and not kept[-1].startswith("## "):
                kept.append(SCENE_BREAK)
        elif block and not (len(block) < 300 and _BOILERPLATE.fullmatch(block)):
            if block.startswith("## ") and kept and kept[-1] == SCENE_BREAK:
                kept.pop()
            kept.append(block)
    while kept and (kept[-1] == SCENE_BREAK or kept[-1].startswith("## ") or _is_the_end(kept[-1])):
        kept.pop()
    return "\n\n".join(kept)


def _replace_characters(text: str) -> str:
    for character in _REPLACED.keys() & set(text):  # most texts have one or two of them: faster than str.translate
        text = text.replace(character, _REPLACED[character])
    return text


def _is_ornament(block: str) -> bool:
    return len(block) < 90 and ORNAMENT.fullmatch(block) is not None


def _is_the_end(block: str) -> bool:
    return len(block) < 30 and _THE_END.fullmatch(block) is not None


def clean_line(text: str) -> str:
    """Return a title or a name, cleaned like a text, on one line."""
    return " ".join(unicodedata.normalize("NFC", _replace_characters(text)).split())
