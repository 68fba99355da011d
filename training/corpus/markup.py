"""XML and HTML of strangers: parsed without a network, without files, without entities of its own, and not too deep.

Documents of EPUB 2 name XHTML's DTD for `&nbsp;` and the like. The DTD is never loaded; the names are looked up in the
table of HTML. A document that *defines* entities is refused: no book needs them, bombs and file thieves do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.entities import html5
from typing import Any

from lxml import etree  # type: ignore[import-untyped]

from training.corpus.bounded import BrokenSource

Element = Any  # lxml has no types
MOST_MARKS = 1_500_000  # tags and attributes of a document, each of which takes a hundred bytes of memory
OPS = "{http://www.idpf.org/2007/ops}type"


def parse_xml(data: bytes, name: str) -> Element:
    """The root of a well-formed document. libxml2 refuses what nests more than 256 deep."""
    _count_marks(data, name)
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError, LookupError) as error:
        reason = str(error).partition("\n")[0]
        raise BrokenSource(f"has a damaged part {name!r}: {reason[:160]}.") from None
    return _checked(root, name)


def parse_page(data: bytes, name: str) -> Element:
    """The root of a page of a book: XHTML, or, where that is not well-formed, what a browser would make of it."""
    _count_marks(data, name)
    try:
        return parse_xml(data, name)
    except BrokenSource:
        if b"<!ENTITY" in data or "<!ENTITY".encode("utf-16-le") in data or "<!ENTITY".encode("utf-16-be") in data:
            raise BrokenSource(
                f"defines entities of its own in {name!r}, which no book needs; it was not read."
            ) from None
        if data[:2] not in (b"\xff\xfe", b"\xfe\xff") and b"<" not in data:
            raise
    # HTML knows no <title/>: what follows would become part of the title.
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
        raise BrokenSource(f"has a damaged page {name!r}.")
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
        raise BrokenSource(f"defines entities of its own in {name!r}, which no book needs; it was not read.")
    return root


def _count_marks(data: bytes, name: str) -> None:
    if data.count(b"<") + data.count(b"=") > MOST_MARKS:
        raise BrokenSource(f"holds more markup in {name!r} than any book does, and was not read.")


def tag(element: Element) -> str:
    """The local name in small letters; "&" for an entity, "" for what is no element."""
    if isinstance(element.tag, str):
        return element.tag.rpartition("}")[2].lower()
    return "&" if element.tag is etree.Entity else ""


def entity_text(element: Element) -> str:
    """What `&name;` stands for; nothing where no table knows it."""
    return html5.get(f"{element.name};", "")


def attribute(element: Element, name: str) -> str:
    """An attribute by its local name, in whatever namespace."""
    for key, value in element.attrib.items():
        if isinstance(key, str) and key.rpartition("}")[2].rpartition(":")[2] == name:
            return str(value)
    return ""


def types(element: Element) -> frozenset[str]:
    """The semantics of an element: `epub:type`, and ARIA's `doc-` roles by the same names, without their prefixes."""
    found = element.get(OPS) or element.get("epub:type") or ""
    role = element.get("role") or ""
    if not found and not role:
        return frozenset()
    names = {name.rpartition(":")[2] for name in found.lower().split()}
    return frozenset(names | {name.removeprefix("doc-") for name in role.lower().split() if name.startswith("doc-")})


def descendants(element: Element, *names: str) -> Iterator[Element]:
    for found in element.iter():
        if tag(found) in names:
            yield found


def content(element: Element) -> str:
    """All text inside an element, spaces collapsed."""
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
