"""Reading Word documents: paragraphs, styles and properties. python-docx is not used, since it unpacks archives without limits.

Titles and top-level headings separate the stories; lower headings are chapters. Deleted text, notes, comments and field codes are
left out; inserted text is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import regex

from training.corpus.bounded import Archive, SourceError, open_source
from training.corpus.cut import Book, draft
from training.corpus.drafts import Reading
from training.corpus.flatten import ORNAMENT, Block, render
from training.corpus.headings import byline, clean_name, is_chapter, page_name
from training.corpus.markup import Element, attribute, content, descendants, parse_xml, tag
from training.corpus.profile import language_tag

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_SKIPPED = {
    "del",
    "movefrom",
    "ppr",
    "rpr",
    "instrtext",
    "footnotereference",
    "endnotereference",
    "drawing",
    "pict",
    "object",
}
_HEADING = regex.compile(r"heading\s*([1-9])", regex.IGNORECASE)


@dataclass(slots=True)
class _Style:
    level: int = 0  # 1 for the title, 2 for "heading 1", ...; 0 for text
    italic: bool = False
    byline: bool = False


def read_docx(path: Path) -> Reading:
    with open_source(path) as handle:
        if handle.read(8) == _OLE:
            raise SourceError(
                "is an old Word document (.doc) or protected by a password; save it as .docx without one."
            )
        archive = Archive(handle)
        name = next((part for part in ("word/document.xml", "word/document2.xml") if part in archive), None)
        if name is None:
            raise SourceError("is a zip archive but not a Word document: it lacks word/document.xml.")
        styles = _styles(archive)
        body = next(descendants(parse_xml(archive.read(name), name), "body"), None)
        if body is None:
            raise SourceError("has no body; it is not a complete Word document.")
        blocks = list(_blocks(body, styles))
        title, author, language = _properties(archive)
    return _stories(blocks, Book(title or path.stem, author, language, {}, collection=True, pages=[], contents=[]))


def _stories(blocks: list[Block], book: Book) -> Reading:
    """Each of several named headings of one level begins a story; a single title names the anthology."""
    reading = Reading()
    headings = [(place, block) for place, block in enumerate(blocks) if block.kind == "heading"]
    levels = sorted({block.level for _, block in headings if not page_name(block.text)})
    for level in levels:
        here = [block for _, block in headings if block.level == level and not page_name(block.text)]
        if len(here) > 1:
            break
        if len(levels) > 1 and level == levels[0]:
            book = Book(here[0].name, book.author, book.language, {}, collection=True, pages=[], contents=[])
    else:
        here = []
    if not here or all(is_chapter(block.text) for block in here):
        reading.drafts = draft(book, blocks, headings[0][1].name if len(levels) > 0 and not here else book.title)
        return reading
    starts = [
        (place, block)
        for place, block in headings
        if block.level <= here[0].level and (page_name(block.text) or not is_chapter(block.text))
    ]
    ends = [place for place, _ in starts[1:]] + [len(blocks)]
    for (start, block), end in zip(starts, ends):
        if page := page_name(block.text):
            reading.skipped[page] += 1
        else:
            reading.drafts += draft(book, blocks[start:end], block.name)
    return reading


def _properties(archive: Archive) -> tuple[str, str, str]:
    """The title, author and language in the document's properties."""
    name = "docProps/core.xml"
    found = {"title": "", "creator": "", "language": ""}
    if name in archive:
        for element in parse_xml(archive.read(name), name).iter():
            if tag(element) in found:
                found[tag(element)] = content(element)
    author = clean_name(found["creator"])
    if author.lower() in ("python-docx", "user", "admin", "administrator", "author", "unknown"):
        author = ""
    return found["title"], author, language_tag(found["language"]) if found["language"] else ""


def _styles(archive: Archive) -> dict[str, _Style]:
    """The styles by id. A style without a heading level has the one of the style that it is based on."""
    if "word/styles.xml" not in archive:
        return {}
    root = parse_xml(archive.read("word/styles.xml"), "word/styles.xml")
    found: dict[str, _Style] = {}
    based: dict[str, str] = {}
    for element in descendants(root, "style"):
        key = attribute(element, "styleId")
        children = {tag(child): child for child in element}
        name = attribute(children["name"], "val") if "name" in children else key
        heading = _HEADING.match(name)
        outline = next((attribute(level, "val") for level in descendants(element, "outlinelvl")), "")
        level = 1 if name.lower() == "title" else 1 + int(heading[1]) if heading else 0
        if not level and outline.isdigit() and int(outline) < 9:
            level = 2 + int(outline)
        italic = any(_is_on(mark) for mark in descendants(element, "i")) or name.lower() == "emphasis"
        found[key] = _Style(level, italic, name.lower() in ("author", "byline"))
        if "basedon" in children:
            based[key] = attribute(children["basedon"], "val")
    for key, style in found.items():
        above, seen = based.get(key, ""), {key}
        while above in found and above not in seen and not style.level:
            style.level = found[above].level
            seen.add(above)
            above = based.get(above, "")
    return found


def _is_on(mark: Element) -> bool:
    return attribute(mark, "val").lower() not in ("0", "false", "off", "none")


def _blocks(body: Element, styles: dict[str, _Style]) -> Iterator[Block]:
    for element in body:
        name = tag(element)
        if name == "p":
            yield from _paragraph(element, styles)
        elif name == "tbl":
            rows = [" ".join(filter(None, map(_text_of, descendants(row, "p")))) for row in descendants(element, "tr")]
            if text := "\n".join(row for row in rows if row):
                yield Block("paragraph", text)
        elif name in ("sdt", "sdtcontent", "ins", "moveto", "customxml", "smarttag"):
            yield from _blocks(element, styles)


def _text_of(paragraph: Element) -> str:
    return render((text, False) for text, _ in _runs(paragraph, {}, False))


def _paragraph(element: Element, styles: dict[str, _Style]) -> Iterator[Block]:
    properties = next((child for child in element if tag(child) == "ppr"), None)
    own = {} if properties is None else {tag(child): child for child in properties}
    style = styles.get(attribute(own["pstyle"], "val"), _Style()) if "pstyle" in own else _Style()
    level = style.level
    if "outlinelvl" in own and attribute(own["outlinelvl"], "val").isdigit():
        level = 2 + min(8, int(attribute(own["outlinelvl"], "val")))
    text = render(_runs(element, styles, style.italic))
    if not text:
        if "pbdr" in own:  # an empty paragraph with a border is a rule
            yield Block("break")
    elif level:
        plain = " ".join(text.replace("*", "").split())
        yield Block("heading", plain, level, plain)
    elif style.byline or byline(text):
        yield Block("byline", byline(text) or text)
    elif ORNAMENT.fullmatch(text):
        yield Block("break")
    else:
        yield Block("paragraph", text)


def _runs(element: Element, styles: dict[str, _Style], italic: bool) -> Iterator[tuple[str, bool]]:
    for child in element:
        name = tag(child)
        if name in _SKIPPED or not name:
            continue
        if name == "r":
            marks = {tag(mark): mark for found in child if tag(found) == "rpr" for mark in found}
            named = styles.get(attribute(marks["rstyle"], "val"), _Style()).italic if "rstyle" in marks else False
            yield from _runs(child, styles, _is_on(marks["i"]) if "i" in marks else italic or named)
        elif name == "t":
            yield child.text or "", italic
        elif name in ("br", "cr"):
            if attribute(child, "type") not in ("page", "column"):
                yield "\n", False
        elif name in ("tab", "ptab"):
            yield " ", italic
        elif name == "nobreakhyphen":
            yield "-", italic
        elif name == "alternatecontent":
            yield from (run for choice in list(child)[:1] for run in _runs(choice, styles, italic))
        elif name not in ("softhyphen", "txbxcontent"):
            yield from _runs(child, styles, italic)
