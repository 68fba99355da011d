"""Parsing untrusted XML and HTML: without network access, external files or entity definitions, and with limited nesting.

EPUB 2 documents refer to XHTML's DTD for entities such as `&nbsp;`. The DTD is never loaded; entities are looked up in HTML's
table. A document that defines entities is refused, since no book needs that, but attacks do (entity expansion, reading files).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.entities import html5
from typing import Any

from lxml import etree  # type: ignore[import-untyped]

from training.corpus.bounded import SourceError

Element = Any  # lxml has no types
MAX_MARKS = 1_500_000  # tags and attributes of a document; each takes about a hundred bytes of memory
OPS = "{http://www.idpf.org/2007/ops}type"


def parse_xml(data: bytes, name: str) -> Element:
    """The root of a well-formed document. Raises SourceError; libxml2 allows 256 levels of nesting."""
    _count_marks(data, name)
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError, LookupError) as error:
        reason = str(error).partition("\n")[0]
        raise SourceError(f"has a damaged part {name!r}: {reason[:160]}.") from None
    return _checked(root, name)


def parse_page(data: bytes, name: str) -> Element:
    """The root of a page of a book, parsed as XHTML or, if that is not well-formed, as HTML. Raises SourceError."""
    _count_marks(data, name)
    try:
        return parse_xml(data, name)
    except SourceError:
        if b"<!ENTITY" in data or "<!ENTITY".encode("utf-16-le") in data or "<!ENTITY".encode("utf-16-be") in data:
            raise SourceError(f"defines entities in {name!r}, which no book needs; it was not read.") from None
        if data[:2] not in (b"\xff\xfe", b"\xfe\xff") and b"<" not in data:
            raise
    # In HTML, <title/> does not close the element: all that follows would be part of the title.
    data = re.sub(rb"<((title|script|style|a|p|div|span|i|em|b|td|li)\b[^<>]{0,500})/>", rb"<\1></\2>", data)
    encoding = "utf-8" if _is_utf8(data) else None
    parser = etree.HTMLParser(
        recover=True, no_network=True, huge_tree=False, remove_comments=True, remove_pis=True, encoding=encoding
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.ParseError, ValueError, LookupError):
        root = None
    if root is None:
        raise SourceError(f"has a damaged page {name!r}.")
    return _checked(root, name)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _checked(root: Element, name: str) -> Element:
    dtd = root.getroottree().docinfo.internalDTD
    if dtd is not None and any(True for _ in dtd.iterentities()):
        raise SourceError(f"defines entities in {name!r}, which no book needs; it was not read.")
    return root


def _count_marks(data: bytes, name: str) -> None:
    if data.count(b"<") + data.count(b"=") > MAX_MARKS:
        raise SourceError(f"contains more markup in {name!r} than any book, and was not read.")


def tag(element: Element) -> str:
    """The local name in lower case; "&" for an entity, "" for anything else that is not an element."""
    if isinstance(element.tag, str):
        return element.tag.rpartition("}")[2].lower()
    return "&" if element.tag is etree.Entity else ""


def entity_text(element: Element) -> str:
    """The text of an entity such as `&nbsp;`; "" if it is unknown."""
    return html5.get(f"{element.name};", "")


def attribute(element: Element, name: str) -> str:
    """The value of an attribute by its local name, in any namespace; "" if there is none."""
    for key, value in element.attrib.items():
        if isinstance(key, str) and key.rpartition("}")[2].rpartition(":")[2] == name:
            return str(value)
    return ""


def types(element: Element) -> frozenset[str]:
    """The semantic types of an element: `epub:type`, and ARIA's `doc-` roles without the prefix."""
    found = element.get(OPS) or element.get("epub:type") or ""
    role = element.get("role") or ""
    if not found and not role:
        return frozenset()
    names = {name.rpartition(":")[2] for name in found.lower().split()}
    return frozenset(names | {name.removeprefix("doc-") for name in role.lower().split() if name.startswith("doc-")})


def descendants(element: Element, *names: str) -> Iterator[Element]:
    """The element and its descendants with one of these local names."""
    for found in element.iter():
        if tag(found) in names:
            yield found


def content(element: Element) -> str:
    """All text inside an element, with whitespace collapsed."""
    pieces: list[str] = []
    _collect(element, pieces)
    return " ".join("".join(pieces).split())


def _collect(element: Element, pieces: list[str]) -> None:
    name = tag(element)
    if name == "&":
        pieces.append(entity_text(element))
    elif name == "br":
        pieces.append(" ")
    elif name not in ("", "script", "style", "rt", "rp"):
        pieces.append(element.text or "")
        for child in element:
            _collect(child, pieces)
            pieces.append(child.tail or "")
