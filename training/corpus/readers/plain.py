"""Reading plain text: its encoding, its hard-wrapped lines, Project Gutenberg's header and licence, and the stories of an anthology.

A file is an anthology if its table of contents has titles that occur again in the text, if at least two single lines are followed
by "by ...", or if at least three single lines in capitals divide it. Otherwise it is one story.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import regex

from training.corpus.bounded import SourceError, read_whole
from training.corpus.cut import Book, draft
from training.corpus.drafts import Reading
from training.corpus.flatten import ORNAMENT, Block
from training.corpus.headings import byline, clean_name, clean_title, is_chapter, page_name
from training.corpus.profile import language_tag
from training.corpus.unwrap import unwrap

_START = regex.compile(
    r"^[ \t]*\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG.*$|^\*END\*.{0,3}THE SMALL PRINT.*$", regex.M | regex.I
)
_END = regex.compile(
    r"^[ \t]*\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG.*$|^[ \t]*End of (?:the |this )?Project Gutenberg.*$",
    regex.M | regex.I,
)
_FIELD = regex.compile(r"^(Title|Author|Language|Translator):[ \t]*(\S[^\n]*)$", regex.M)
_MADE_BY = regex.compile(
    r"\[(?:illustration|transcriber)[^\]]{0,2000}\]|(?:e-?text )?(?:produced|prepared|transcribed) by\b.{0,400}"
    r"|(?:this )?e-?(?:text|book) was (?:produced|prepared|transcribed) .{0,600}|transcriber['’]?s notes?:.{0,1500}",
    regex.IGNORECASE | regex.DOTALL,
)
_HAN = regex.compile(r"\p{sc=Han}")
_LANGUAGES = {"english": "en", "chinese": "zh", "french": "fr", "german": "de", "spanish": "es", "italian": "it"}
MIN_STORY_WORDS = 150  # between two titles: lines with less between them are a list


@dataclass(slots=True)
class _Gutenberg:
    text: str
    fields: dict[str, str] = field(default_factory=dict)


def decode(data: bytes) -> tuple[str, str]:
    """The text of a file, and a note if its encoding was guessed. Raises SourceError."""
    for mark, encoding in (
        (b"\xef\xbb\xbf", "utf-8"),
        (b"\xff\xfe\0\0", "utf-32-le"),
        (b"\xff\xfe", "utf-16-le"),
        (b"\xfe\xff", "utf-16-be"),
    ):
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding), ""
            except UnicodeDecodeError:
                raise SourceError(f"is marked as {encoding.upper()}, but is not; save it as UTF-8.") from None
    if b"\0" in data[:100_000]:
        for encoding in ("utf-16-le", "utf-16-be"):
            if _is_usual(data[:100_000].decode(encoding, "ignore")):
                return data.decode(encoding, "replace"), ""
        raise SourceError("is not a text (it contains bytes that no text has).")
    try:
        return data.decode(), ""
    except UnicodeDecodeError:
        pass
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        text = ""
    letters = sum(letter.isalpha() for letter in text[:50_000])
    common = sum("一" <= letter <= "龥" for letter in text[:50_000])
    if letters and common > 0.7 * letters:
        return text, "The encoding is not UTF-8 and was read as GB 18030."
    return data.decode("cp1252", "replace"), "The encoding is not UTF-8 and was guessed to be Windows-1252."


def _is_usual(text: str) -> bool:
    """Whether nearly all characters are Latin, Chinese or their punctuation, unlike bytes that are wrongly read in pairs."""
    usual = regex.findall(r"[\t\n\r\x20-\x7e\u00a0-\u024f\u2000-\u206f\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef]", text)
    return len(usual) > 0.97 * len(text) and ("\n" in text or " " in text)


def read_text(path: Path) -> Reading:
    text, note = decode(read_whole(path))
    reading = Reading(notes=[note] if note else [])
    inner = _without_gutenberg(text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n"))
    fields = inner.fields
    blocks = [block for block in map(_block, unwrap(inner.text)) if block is not None]
    if not blocks:
        raise SourceError("contains no text.")
    language = _LANGUAGES.get(fields.get("Language", "").lower(), language_tag(fields.get("Language", "")))
    facts = {"translators": [fields["Translator"]]} if "Translator" in fields else {}
    name = fields.get("Title") or " ".join(path.name.partition(".")[0].replace("_", " ").split())
    book = Book(name, clean_name(fields.get("Author", "")), language, facts, collection=True, pages=[], contents=[])
    places, title_of = _titles(blocks)
    if not places:
        one = Book("", book.author, language, facts, collection=False, pages=[], contents=[])
        rest, title, author = _head(blocks, name)
        if page_name(title):
            title = name
        found = draft(one, [Block("byline", author), *rest] if author else rest, title)
        reading.drafts = found
        return reading
    for place, end in zip(places, [*places[1:], len(blocks)]):
        if page := page_name(blocks[place].text):
            reading.skipped[page] += 1
        else:
            blocks[place] = Block("heading", blocks[place].text, 1, title_of.get(place, blocks[place].text))
            reading.drafts += draft(book, blocks[place:end], "")
    return reading


def _without_gutenberg(text: str) -> _Gutenberg:
    """The text between Project Gutenberg's header and licence, and the fields of the header."""
    start, fields = 0, {}
    if found := _START.search(text[:60_000]):
        fields = dict(_FIELD.findall(text[: found.start()]))
        start = found.end()
    end = _END.search(text, start)
    inside = text[start : end.start() if end else len(text)]
    return _Gutenberg(inside, {name: " ".join(value.split()) for name, value in fields.items()})


def _block(paragraph: str) -> Block | None:
    text = paragraph.strip()
    if _MADE_BY.fullmatch(text):
        return None
    if ORNAMENT.fullmatch(text):
        return Block("break")
    flat = " ".join(text.split())
    if is_chapter(flat) and len(flat) < 60:
        return Block("heading", flat.strip("*_"), 3, flat.strip("*_"))
    text = regex.sub(r"(?<![\p{L}\p{N}_])_(?=\S)([^_\n]{1,2000}?)(?<=\S)_(?![\p{L}\p{N}_])", r"*\1*", paragraph)
    return Block("paragraph", text)


def _titles(blocks: Sequence[Block]) -> tuple[list[int], dict[int, str]]:
    """The places where the stories of an anthology begin, and their titles; both empty if the file is one story."""
    lone = [number for number, block in enumerate(blocks) if block.kind == "paragraph" and _may_be_title(block.text)]
    listed = _listed(blocks)
    if listed:
        found = {number: listed[_key(blocks[number].text)] for number in lone if _key(blocks[number].text) in listed}
        ends = [number for number in lone if page_name(blocks[number].text) and found and number > min(found)]
        first: dict[str, int] = {}
        for number in _apart(
            blocks, sorted(found)
        ):  # a title may occur again inside its story, such as a newspaper heading
            first.setdefault(_key(blocks[number].text), number)
        starts = sorted({*first.values(), *ends})
        if sum(number in found for number in starts) >= 2:
            return starts, found
    signed = [n for n in lone if n + 1 < len(blocks) and byline(blocks[n + 1].text)]
    if len(signed) >= 2 and len(kept := _apart(blocks, signed)) >= 2:
        return kept, {}
    capitals = [n for n in lone if _is_capitals(blocks[n].text)]
    repeated = Counter(_key(blocks[n].text) for n in capitals)
    kept = _apart(blocks, [n for n in capitals if repeated[_key(blocks[n].text)] == 1 and not byline(blocks[n].text)])
    return (kept, {}) if len(kept) >= 3 else ([], {})


def _may_be_title(text: str) -> bool:
    return "\n" not in text.strip() and len(text) <= 90 and len(text.split()) <= 14 and not is_chapter(text.strip())


def _is_capitals(text: str) -> bool:
    letters = [letter for letter in text if letter.isalpha()]
    return len(letters) >= 3 and all(letter.isupper() for letter in letters)


def _key(text: str) -> str:
    return regex.sub(r"[^\p{L}\p{N}]+", " ", clean_title(text).casefold()).strip()


def _listed(blocks: Sequence[Block]) -> dict[str, str]:
    """The titles of the table of contents, by their keys for comparison."""
    for number, block in enumerate(blocks[:400]):
        if block.kind != "paragraph" or page_name(block.text.split("\n")[0]) != "contents":
            continue
        lines = block.text.split("\n")[1:]
        for following in blocks[number + 1 : number + 300]:
            inner = following.text.split("\n")
            if following.kind == "break" or any(len(line) > 100 for line in inner):
                break
            lines += inner
        titles = [regex.sub(r"[\s.·…_]*\s\d{1,4}\s*$", "", line).strip() for line in lines]
        return {_key(title): clean_title(title) for title in titles if _key(title) and not page_name(title)}
    return {}


def _apart(blocks: Sequence[Block], places: Sequence[int]) -> list[int]:
    """The places that are followed by at least MIN_STORY_WORDS words before the next one, unlike the lines of a list."""
    kept = []
    for place, end in zip(places, [*places[1:], len(blocks)]):
        words = sum(len(block.text.split()) + len(_HAN.findall(block.text)) for block in blocks[place + 1 : end])
        if words >= MIN_STORY_WORDS:
            kept.append(place)
    return kept


def _head(blocks: Sequence[Block], name: str) -> tuple[list[Block], str, str]:
    """The rest of a single story after its first lines, and the title and author in them; the title is `name` if they have none."""
    rest = list(blocks)
    if len(rest) < 3 or rest[0].kind != "paragraph":
        return rest, name, ""
    first = rest[0].text.strip()
    lines = first.split("\n")
    if len(lines) == 2 and byline(lines[1]):
        return rest[1:], lines[0], byline(lines[1])
    title = "\n" not in first and len(first.split()) <= 12 and not regex.search(r"[.,;:!?”\"。，！？：；]$", first)
    if not title and not _is_capitals(first):
        return rest, name, ""
    signed = byline(rest[1].text) if rest[1].kind == "paragraph" else ""
    return rest[2 if signed else 1 :], first, signed
