"""Converts the elements of a page to the paragraphs of a story, in the format of `training.common.text`.

Verse, addresses and table rows keep their line breaks inside a paragraph; emphasis becomes `*...*` in each line; a rule or
an ornament becomes a scene break. Note references, page marks, pictures, captions, epigraphs and dedications are removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

import regex

from training.common.text import SCENE_BREAK
from training.corpus.bounded import SourceError
from training.corpus.headings import is_chapter, is_numbered_name
from training.corpus.markup import Element, attribute, content, entity_text, tag, types

MAX_DEPTH = 120
_ORNAMENTS = r"*＊⁂⁎✻✽❦❧☙•·∙◦◆◇○●□■★☆#~〜＝=_—–\-+†‡\.§※"
ORNAMENT = regex.compile(rf"\s*(?:[{_ORNAMENTS}]\s*){{2,40}}|\s*[⁂❦❧☙✻✽※#＊*◇◆○●★☆§~]\s*")
_NOT_TEXT = {
    *("script", "style", "head", "img", "svg", "figure", "figcaption", "audio", "video", "math", "nav", "rt", "rp"),
    *(
        "object",
        "iframe",
        "form",
        "input",
        "button",
        "select",
        "textarea",
        "map",
        "canvas",
        "template",
        "title",
        "meta",
    ),
}
_NO_PART = {
    *("noteref", "pagebreak", "footnote", "footnotes", "endnote", "endnotes", "rearnote", "rearnotes", "epigraph"),
    *("dedication", "annoref", "biblioref", "page-list", "toc", "landmarks"),
}
_BLOCKS = {
    *("p", "div", "li", "blockquote", "section", "article", "dd", "dt", "dl", "ul", "ol", "pre", "header", "footer"),
    *("address", "center", "main", "body", "html", "aside", "tbody", "details", "summary"),
}
_PARTS = {"section", "article", "body", "main"}
_NOTE_MARK = regex.compile(r"[\[(]?(?:\d{1,3}|[*†‡§]{1,3}|[a-z])[\])]?")
_NOTE_LINK = regex.compile(r"note|fn|ftn|ref|end|_edn", regex.IGNORECASE)
_ITALIC = regex.compile(r"\b(?:italics?|emphasis|emph|ital)\b|font-style:\s*(?:italic|oblique)", regex.IGNORECASE)
_BREAK_CLASS = regex.compile(r"break|ornament|asterism|divider|separator|dinkus|\btb\b", regex.IGNORECASE)
_BYLINE_CLASS = regex.compile(r"\b(?:byline|by-line|author|storyauthor|chapter-?author)\b", regex.IGNORECASE)


@dataclass(slots=True)
class Block:
    """A paragraph, a heading (`level` 1 to 6; `name` is its title without a number), a scene break or a byline."""

    kind: Literal["paragraph", "heading", "break", "byline"]
    text: str = ""
    level: int = 0
    name: str = ""
    anchors: frozenset[str] = frozenset()


@dataclass(slots=True)
class Flattener:
    """Collects the blocks of a page, or of one element of it."""

    blocks: list[Block] = field(default_factory=list)
    _runs: list[tuple[str, bool]] = field(default_factory=list)
    _italic: int = 0
    _depth: int = 0
    _anchors: set[str] = field(default_factory=set)

    def page(self, element: Element) -> list[Block]:
        """The blocks of an element, in order. Raises SourceError if it nests too deep."""
        self._enter(element)
        self._flush()
        return self.blocks

    def _enter(self, element: Element) -> None:
        name, kinds = tag(element), types(element)
        if name == "&":
            self._runs.append((entity_text(element), self._italic == 1))
            return
        if anchor := element.get("id") or (element.get("name") if name == "a" else None):
            self._anchors.add(anchor)
        if not name or name in _NOT_TEXT or kinds & _NO_PART or _is_note(element, name):
            return
        if name == "br":
            self._runs.append(("\n", False))
        elif name == "hr":
            self._flush()
            self._add(Block("break"))
        elif name == "hgroup" or (len(name) == 2 and name[0] == "h" and name[1].isdigit()):
            self._flush()
            self._heading(element, name)
        elif name == "table":
            self._flush()
            rows = [_row(row) for row in element.iter() if tag(row) == "tr"]
            self._paragraph("\n".join(row for row in rows if row))
        elif name in ("header", "footer") and _is_part(element.getparent()):
            self._flush()
            self._frame(element, name)
        elif name in _BLOCKS:
            self._block(element, kinds)
        else:
            self._inline(element, name)

    def _children(self, element: Element, pre: bool = False) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise SourceError(f"nests more than {MAX_DEPTH} elements in a page, which no book does.")
        self._text(element.text, pre)
        for child in element:
            self._enter(child)
            self._text(child.tail, pre)
        self._depth -= 1

    def _text(self, text: str | None, pre: bool = False) -> None:
        if text:
            self._runs.append((text if pre else regex.sub(r"[ \t\r\n\f]+", " ", text), self._italic == 1))

    def _inline(self, element: Element, name: str) -> None:
        emphasised = name in ("em", "i") or (
            name in ("span", "cite") and bool(_ITALIC.search(f"{element.get('class', '')} {element.get('style', '')}"))
        )
        self._italic += emphasised  # emphasis inside emphasis is set upright and is not marked
        self._children(element)
        self._italic -= emphasised

    def _block(self, element: Element, kinds: frozenset[str]) -> None:
        self._flush()
        classes = f"{element.get('class', '')} {element.get('role', '')}"
        if "pg-boilerplate" in classes:  # Project Gutenberg's licence
            return
        if "author" in kinds or _BYLINE_CLASS.search(classes):
            if text := content(element):
                self._add(Block("byline", text))
            return
        before = len(self.blocks)
        self._children(element, pre=tag(element) == "pre")
        self._flush()
        if len(self.blocks) == before and _BREAK_CLASS.search(classes):
            self._add(Block("break"))

    def _frame(self, element: Element, name: str) -> None:
        """Enter the headings and the byline of a story's header. Its footer (a date, a place) is left out."""
        if name == "header":
            for child in element:
                kinds = types(child)
                if (
                    "author" in kinds
                    or _BYLINE_CLASS.search(child.get("class", ""))
                    or tag(child) not in ("p", "blockquote")
                ):
                    self._enter(child)

    def _heading(self, element: Element, name: str) -> None:
        self._anchors |= {inner.get("id") or inner.get("name") or "" for inner in element.iter() if tag(inner)} - {""}
        lines = [child for child in element if tag(child)] if name == "hgroup" else [element]
        level = min((int(tag(line)[1]) for line in lines if regex.fullmatch(r"h[1-6]", tag(line))), default=2)
        parts = [(text, types(line)) for line in lines if (text := content(_without_notes(line)))]
        main = [text for text, kinds in parts if not kinds & {"subtitle", "byline", "author"}] or [
            text for text, _ in parts
        ]
        titled = [text for text, kinds in parts if "title" in kinds or "fulltitle" in kinds]
        if name != "hgroup":  # <h2><span epub:type="ordinal">I</span> <span epub:type="title">...</span></h2>
            inner = [child for child in element.iter() if child is not element and "title" in types(child)]
            titled = titled if not inner else [content(inner[0])]
        if main:
            name = titled[0] if titled else main[-1] if name == "hgroup" and _is_ordinal(*parts[0]) else main[0]
            text = ": ".join(main) if len(main) <= 2 and name == main[-1] else main[0]
            self._add(Block("heading", text, level, name))

    def _paragraph(self, text: str) -> None:
        if ORNAMENT.fullmatch(text):
            self._add(Block("break"))
        elif text:
            self._add(Block("paragraph", text))

    def _add(self, block: Block) -> None:
        block.anchors = frozenset(self._anchors)
        self._anchors.clear()
        self.blocks.append(block)

    def _flush(self) -> None:
        if self._runs:
            text = render(self._runs)
            self._runs = []
            self._paragraph(text)


def render(runs: Iterable[tuple[str, bool]]) -> str:
    """Return one paragraph of runs (text, whether it is emphasised), with `*...*` inside each line and spaces outside of it.

    >>> render([("He ", False), ("did ", True), ("not.", False)])
    'He *did* not.'
    """
    pieces = ((line, emphasised) for text, emphasised in runs for line in _lines(text) if line)
    # A line break is a group of its own, so that emphasis starts again after it.
    groups = groupby(pieces, key=lambda piece: (piece[1], piece[0] == "\n"))
    joined = (("".join(text for text, _ in group), emphasised) for (emphasised, _), group in groups)
    marked = "".join(_emphasised(text) if emphasised else text for text, emphasised in joined)
    lines = [" ".join(line.split()) for line in marked.split("\n")]
    return "\n".join(line for line in lines if line)


def _lines(text: str) -> list[str]:
    """The lines of a text and the line breaks between them, as separate strings."""
    return [text] if "\n" not in text or text == "\n" else regex.split(r"(\n)", text)


def _emphasised(text: str) -> str:
    core = text.strip()
    if "*" in core or not any(letter.isalnum() for letter in core):
        return text
    start = text.index(core)
    return f"{text[:start]}*{core}*{text[start + len(core) :]}"


def compose(blocks: Sequence[Block]) -> str:
    """Return the text of a story, without scene breaks at its ends or beside headings, and without empty sections."""
    lines: list[str] = []
    for block in blocks:
        if block.kind == "paragraph":
            lines.append(block.text)
        elif block.kind == "heading":
            while lines and lines[-1] == SCENE_BREAK:
                lines.pop()
            lines.append(f"## {' '.join(block.text.split())}")
        elif block.kind == "break" and lines and lines[-1] != SCENE_BREAK and not lines[-1].startswith("## "):
            lines.append(SCENE_BREAK)
    while lines and (lines[-1] == SCENE_BREAK or lines[-1].startswith("## ")):
        lines.pop()
    return "\n\n".join(lines)


def _is_ordinal(text: str, kinds: frozenset[str]) -> bool:
    return "ordinal" in kinds or (is_chapter(text) and not is_numbered_name(text))


def _is_part(element: Element | None) -> bool:
    return element is not None and tag(element) in _PARTS


def _row(row: Element) -> str:
    return " ".join(text for cell in row if (text := content(cell)))


def _is_note(element: Element, name: str) -> bool:
    if name not in ("a", "sup"):
        return False
    links = [element] if name == "a" else [child for child in element if tag(child) == "a"]
    target = attribute(links[0], "href") if links else ""
    if "#" not in target or not _NOTE_MARK.fullmatch(content(element)):
        return False
    raised = name == "sup" or any(tag(child) == "sup" for child in element) or tag(element.getparent()) == "sup"
    return raised or bool(_NOTE_LINK.search(target.rpartition("#")[2] + element.get("class", "")))


def _without_notes(element: Element) -> Element:
    """Remove the note references from a heading, in place, and return it. The text after them stays."""
    for child in [found for found in element.iter() if found is not element]:
        if types(child) & _NO_PART or _is_note(child, tag(child)):
            for piece in list(child):
                child.remove(piece)
            child.text = None
    return element
