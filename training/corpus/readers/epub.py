"""Reading EPUB 2 and 3: container.xml names the package document, which lists the pages in order (the spine) and the contents.

`training.corpus.cut` makes stories from the pages. A path in the package document that leads out of the book is refused, also
if it is percent-encoded.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from training.corpus.bounded import Archive, SourceError, open_source
from training.corpus.cut import Book, Entry, Page, cut
from training.corpus.drafts import Reading
from training.corpus.headings import clean_name
from training.corpus.markup import (
    MAX_MARKS,
    Element,
    attribute,
    content,
    descendants,
    parse_page,
    parse_xml,
    tag,
    types,
)
from training.corpus.profile import language_tag

_FONT_OBFUSCATION = {"http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"}
_PAGE_KINDS = {"application/xhtml+xml", "text/html", "application/x-dtbook+xml", "text/x-oeb1-document"}
_GENERIC = {
    "short fiction",
    "short stories",
    "stories",
    "collected stories",
    "selected stories",
    "complete stories",
    "tales",
}


@dataclass(slots=True)
class _Metadata:
    title: str = ""
    language: str = ""
    people: dict[str, list[str]] = field(default_factory=dict)  # by MARC role, "" where none is given
    rights: str = ""
    collection: bool = False


def read_epub(path: Path) -> Reading:
    with open_source(path) as handle:
        archive = Archive(handle)
        _refuse_drm(archive)
        container = parse_xml(archive.read("META-INF/container.xml"), "META-INF/container.xml")
        roots = [attribute(found, "full-path") for found in descendants(container, "rootfile")]
        if not roots:
            raise SourceError("names no package document in META-INF/container.xml; it is not a complete EPUB.")
        return _read_package(archive, _inside("", roots[0]))


def _read_package(archive: Archive, at: str) -> Reading:
    package = parse_xml(archive.read(at), at)
    manifest = {item.get("id"): item for item in descendants(package, "item")}
    metadata = _metadata(package)
    spine = next(descendants(package, "spine"), None)
    items = [] if spine is None else [(ref, manifest.get(ref.get("idref"))) for ref in descendants(spine, "itemref")]
    pages, reading, seen, marks = [], Reading(), set(), 0
    for ref, item in items:
        if item is None or ref.get("linear") == "no" or item.get("media-type", "") not in _PAGE_KINDS:
            continue
        name = _inside(at, item.get("href", ""))
        if not name or name in seen:
            continue
        seen.add(name)
        if name not in archive:
            reading.notes.append(f"The page {name} is listed but missing.")
            continue
        data = archive.read(name)
        marks += data.count(b"<") + data.count(b"=")
        if marks > 2 * MAX_MARKS:
            raise SourceError("contains more markup than any book; reading was stopped.")
        body = next(descendants(parse_page(data, name), "body"), None)
        if body is not None:
            pages.append(Page(name, body))
    if not pages:
        raise SourceError("lists no page that can be read; it is not a complete EPUB.")
    authors = metadata.people.get("aut") or metadata.people.get("", [])
    author = " and ".join(authors) if len(authors) <= 3 else ""
    title = metadata.title
    if title.lower() in _GENERIC and author:
        title = f"{author}: {title}"  # many books have this title: the author distinguishes them
    facts: dict[str, Any] = {"license": metadata.rights} if metadata.rights else {}
    if translators := metadata.people.get("trl"):
        facts["translators"] = translators
    contents = _contents(archive, at, manifest, spine)
    book = Book(title, author, metadata.language, facts, metadata.collection, pages, contents)
    return cut(book, reading)


def _refuse_drm(archive: Archive) -> None:
    name = "META-INF/encryption.xml"
    if name in archive:
        for method in descendants(parse_xml(archive.read(name), name), "encryptionmethod"):
            if attribute(method, "Algorithm") not in _FONT_OBFUSCATION:
                raise SourceError("is protected by DRM; only a copy without it can be read.")


def _inside(base: str, href: str) -> str:
    """The name of the part that a link in `base` refers to; "" for an external link. Raises SourceError."""
    href = unquote(href.partition("#")[0])
    if "://" in href or href.startswith(("data:", "mailto:")):
        return ""
    name = posixpath.normpath(posixpath.join(posixpath.dirname(base), href))
    if name.startswith(("/", "../")) or name == ".." or "\\" in name or "\0" in name:
        raise SourceError(f"refers to a page outside of the book ({href[:80]!r}).")
    return name


def _metadata(package: Element) -> _Metadata:
    found = _Metadata()
    block = next(descendants(package, "metadata"), package)
    elements = [element for element in block.iter() if tag(element)]
    roles: dict[str, list[str]] = {}
    for element in elements:
        if tag(element) == "meta" and element.get("property") == "role":
            roles.setdefault(element.get("refines", "").lstrip("#"), []).append(content(element))
    for element in elements:
        name, text = tag(element), content(element)
        if name == "title" and not found.title:
            found.title = text
        elif name == "language" and not found.language:
            found.language = language_tag(text)
        elif name == "rights" and not found.rights:
            found.rights = text if len(text) <= 250 else f"{text[:250].rpartition(' ')[0]} …"
        elif name in ("creator", "contributor") and text:
            given = roles.get(element.get("id", "")) or [attribute(element, "role")]
            if name == "contributor":
                given = [role for role in given if role == "trl"]
            for role in given:
                found.people.setdefault(role, []).append(clean_name(text))
        lower = text.lower()
        found.collection |= (
            (element.get("property") == "se:is-a-collection" and lower == "true")
            or (name == "subject" and any(word in lower for word in ("short stories", "tales", "anthologies")))
            or (name == "meta" and lower.endswith(("schema.org/collection", "shorts", "short fiction")))
            or (name == "title" and any(word in lower.split() for word in ("stories", "tales", "anthology", "omnibus")))
        )
    return found


def _contents(archive: Archive, at: str, manifest: dict[str, Element], spine: Element | None) -> list[Entry]:
    """The table of contents, of EPUB 3 (nav) or of EPUB 2 (NCX); empty where there is none that can be read."""
    for item in manifest.values():
        name = item.get("href", "")
        if "nav" in item.get("properties", "").split() and (path := _inside(at, name)) in archive:
            for nav in descendants(parse_page(archive.read(path), path), "nav"):
                if "toc" in types(nav):
                    return [entry for child in nav if tag(child) == "ol" for entry in _nav(child, path)]
    listed = manifest.get(spine.get("toc", "")) if spine is not None else None
    kind = "application/x-dtbncx+xml"
    listed = listed if listed is not None else next((i for i in manifest.values() if i.get("media-type") == kind), None)
    if listed is not None and (path := _inside(at, listed.get("href", ""))) in archive:
        for points in descendants(parse_page(archive.read(path), path), "navmap"):
            return _ncx(points, path)
    return []


def _nav(block: Element, at: str) -> list[Entry]:
    entries = []
    for item in block:
        link = next((child for child in item if tag(child) in ("a", "span")), None)
        if link is None:
            continue
        href = link.get("href", "")
        inner = [entry for child in item if tag(child) == "ol" for entry in _nav(child, at)]
        entries.append(Entry(content(link), _inside(at, href) if href else "", unquote(href.partition("#")[2]), inner))
    return entries


def _ncx(points: Element, at: str) -> list[Entry]:
    entries = []
    for point in points:
        if tag(point) == "navpoint":
            label = next(descendants(point, "text"), None)
            source = next((child.get("src", "") for child in point if tag(child) == "content"), "")
            title = "" if label is None else content(label)
            entries.append(Entry(title, _inside(at, source), unquote(source.partition("#")[2]), _ncx(point, at)))
    return entries
