"""Converts the lines of a text file to its paragraphs: hard-wrapped prose is joined, verse keeps its lines.

A line is taken as wrapped if the first word of the next line would not have fitted on it; lines of verse are shorter.
Chinese is joined without a space. A word that is hyphenated at the end of a line is joined as the rest of the text writes it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import regex

_LATIN = regex.compile(r"[A-Za-z0-9,.;:!?]")
_CJK = regex.compile(r"[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}　-〿＀-￯]")
_PAGE_NUMBER = regex.compile(
    r"[\s\-–—\[({|.]*(?:page|pg\.?|p\.)?\s*(?:\d{1,4}|[ivxlc]{1,7})[\s\-–—\])}|.]*", regex.IGNORECASE
)
_WORD = regex.compile(r"\p{L}+")
MAX_WRAP_WIDTH = 100  # columns: longer lines are not wrapped


def unwrap(text: str) -> list[str]:
    """The paragraphs of a text."""
    lines = [line.rstrip() for line in text.expandtabs(4).split("\n")]
    lines = _without_page_marks(lines)
    width = _width(lines)
    if not width:  # each line is a paragraph, unless blank lines separate stanzas
        return _long_lines(lines)
    vocabulary = Counter(_WORD.findall(text.lower()))
    paragraphs: list[str] = []
    block: list[str] = []
    for line in [*lines, ""]:
        if not line.strip():
            paragraphs += _paragraphs(block, width, vocabulary)
            block = []
        else:
            block.append(line)
    return paragraphs


def looks_wrapped(text: str) -> bool:
    """Whether a text is hard-wrapped, so that its lines must be joined: most paragraphs have several full lines."""
    lines = text.split("\n")
    width = _width(lines) if len(lines) >= max(30, 3 * text.count("\n\n")) else 0
    if not width:
        return False
    blocks = [block.split("\n") for block in text.split("\n\n")]
    longer = [block for block in blocks if len(block) > 2]
    wrapped = [block for block in longer if _is_wrapped(block, width)]
    return sum(map(len, wrapped)) > 0.5 * len(lines)


def _width(lines: Sequence[str]) -> int:
    """The width to which the file is wrapped, in columns; 0 if its lines are whole paragraphs."""
    widths = sorted(_columns(line) for line in lines if line.strip())
    if not widths:
        return 0
    width = widths[int(len(widths) * 0.95)] if len(widths) > 20 else widths[-1]
    return width if 20 <= width <= MAX_WRAP_WIDTH else 0


def _columns(text: str) -> int:
    """The width of a text in columns, of which a Chinese character takes two."""
    return len(text) + (len(_CJK.findall(text)) if not text.isascii() else 0)


def _long_lines(lines: Sequence[str]) -> list[str]:
    paragraphs: list[str] = []
    block: list[str] = []
    for line in [*lines, ""]:
        if line.strip() and len(line.split()) <= 10 and len(line) <= 60:
            block.append(line.strip())
            continue
        # Consecutive short lines between blank lines are verse, otherwise dialogue.
        verse = (
            not line.strip()
            and len(block) > 1
            and sum(short[-1] in ".!?”\"'’。！？」" for short in block) * 2 < len(block)
        )
        paragraphs += ["\n".join(block)] if verse else block
        block = []
        if line.strip():
            paragraphs.append(line.strip())
    return paragraphs


def _paragraphs(block: Sequence[str], width: int, vocabulary: Counter[str]) -> list[str]:
    """The paragraphs of a block between blank lines: one, or several with indented first lines, or verse."""
    if not block:
        return []
    indents = [len(line) - len(line.lstrip()) for line in block]
    least = min(indents)
    begins = [number for number, indent in enumerate(indents) if indent >= least + 1 and number]
    flush = [number for number, indent in enumerate(indents) if indent == least]
    if begins and len(begins) <= len(block) * 0.7 and (len(flush) > len(begins) or _has_wide_indent(block)):
        pieces = [list(block[a:b]) for a, b in zip([0, *begins], [*begins, len(block)])]
        if all(_is_wrapped(piece, width) for piece in pieces if len(piece) > 1):
            return [_join(piece, vocabulary) for piece in pieces]
    if _is_wrapped(block, width):
        return [_join(block, vocabulary)]
    return ["\n".join(line.strip() for line in block)]


def _has_wide_indent(block: Sequence[str]) -> bool:
    return any(line.startswith("　") for line in block)


def _is_wrapped(block: Sequence[str], width: int) -> bool:
    """Whether most lines end where the next word would not have fitted."""
    if len(block) < 2:
        return True
    full = 0
    for line, following in itertools.pairwise(block):
        start = following.strip()
        word = start[:1] if _CJK.match(start) else start.split()[0]
        parted = line.endswith(("-", "‐")) and word[:1].islower()
        full += parted or _columns(line) + 1 + _columns(word) > width * 0.88
    return full >= 0.6 * (len(block) - 1)


def _join(block: Sequence[str], vocabulary: Counter[str]) -> str:
    pieces = [block[0].strip()]
    chinese = any(_CJK.search(line[-2:]) or _CJK.search(line[:2]) for line in block)
    for line in block[1:]:
        line, before = line.strip(), pieces[-1]
        parted = regex.search(r"(\p{L}+)[-‐\u00ad]$", before[-40:])
        rest = regex.match(r"\p{Ll}+", line)
        if parted and rest:
            whole, hyphened = (parted[1] + rest[0]).lower(), f"{parted[1]}-{rest[0]}".lower()
            keep = not before.endswith("\u00ad") and vocabulary[whole] == 0 and _is_compound(hyphened, vocabulary)
            pieces[-1] = before if keep else before[:-1]
        elif chinese and not (_LATIN.match(before[-1:]) and _LATIN.match(line[:1])):
            pass
        elif not before.endswith(("—", "--")):
            pieces.append(" ")
        pieces.append(line)
    return "".join(pieces)


def _is_compound(hyphened: str, vocabulary: Counter[str]) -> bool:
    """Whether both halves are words of this text, so that the hyphen is probably the author's."""
    return all(vocabulary[part] > 1 for part in hyphened.split("-"))


def _without_page_marks(lines: Sequence[str]) -> list[str]:
    """Remove page numbers on lines of their own, and running heads, which are single lines that occur repeatedly."""
    alone = [
        number
        for number, line in enumerate(lines)
        if line.strip()
        and (not number or not lines[number - 1].strip())
        and (number + 1 == len(lines) or not lines[number + 1].strip())
        and len(line.strip()) <= 60
    ]
    heads = Counter(_head(lines[number]) for number in alone)
    numbers = [n for n in alone if _PAGE_NUMBER.fullmatch(lines[n].strip()) and any(map(str.isdigit, lines[n]))]
    many = len(numbers) >= 8 and _increases([int("".join(filter(str.isdigit, lines[n]))[:6]) for n in numbers])
    marks = set(numbers) if many else set()
    for number in alone:
        head = _head(lines[number])
        digits = any(map(str.isdigit, lines[number]))
        if len(head) >= 4 and (
            (heads[head] >= 4 and (digits or head.isupper())) or (heads[head] >= 3 and digits and many)
        ):
            marks.add(number)
    kept: list[str] = []
    skipped = False
    for number, line in enumerate(lines):
        if number in marks:
            skipped = True
            continue
        if skipped and not line.strip():
            continue
        if skipped and kept and _continues(kept, line):  # the paragraph continues on the next page
            while kept and not kept[-1].strip():
                kept.pop()
        skipped = False
        kept.append(line)
    return kept


def _head(line: str) -> str:
    return regex.sub(r"[\d\s|\[\].–—-]+", " ", line).strip()


def _increases(numbers: Sequence[int]) -> bool:
    """Whether the numbers increase in small steps, and over more than a few pages, unlike chapter numbers."""
    steps = [b - a for a, b in itertools.pairwise(numbers)]
    return sum(0 < step <= 3 for step in steps) >= 0.8 * len(steps) and numbers[-1] - numbers[0] >= 8


def _continues(kept: Sequence[str], line: str) -> bool:
    before = next((one for one in reversed(kept) if one.strip()), "")
    start = line.lstrip()[:1]
    return (
        bool(before)
        and before.rstrip()[-1] not in ".!?”\"’':。！？」*"
        and (start.islower() or bool(_CJK.match(start)))
    )
