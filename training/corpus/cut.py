"""Cutting a book into its stories.

If the book marks stories and novellas (`epub:type`, as Standard Ebooks does), the innermost of these are the stories.
Otherwise the table of contents divides it: an entry with a name of its own is a story, an entry that only numbers a chapter
belongs to the story before it, and an entry above named entries is a part of the book. Without a table, headings are used.
A book whose pages are marked as chapters, and which is not called a collection, is one story.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from training.corpus.drafts import Draft, Reading
from training.corpus.flatten import Block, Flattener, compose
from training.corpus.headings import PAGES, byline, clean_name, clean_title, is_chapter, is_numbered_name, page_name
from training.corpus.markup import Element, content, tag, types

_STORY = {"short-story", "novella"}
_PLAY, _VERSE = {"drama"}, {"poem"}


@dataclass(frozen=True, slots=True)
class Page:
    name: str
    body: Element


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the table of contents: its title, where it leads (page, anchor), and the entries under it."""

    title: str
    page: str
    anchor: str = ""
    inner: list[Entry] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Book:
    title: str
    author: str
    language: str
    facts: dict[str, Any]
    collection: bool
    pages: list[Page]
    contents: list[Entry]


@dataclass(frozen=True, slots=True)
class _Start:
    """Where something begins: a story (`title`), a chapter of the current story, or a page to skip (`skipped`)."""

    place: int
    title: str = ""
    skipped: str = ""
    chapter: bool = False


def cut(book: Book, reading: Reading) -> Reading:
    """Add the stories of a book, and the counts of skipped pages, to `reading`, and return it."""
    marked = any(types(element) & _STORY for page in book.pages for element in page.body.iter() if tag(element))
    if marked:
        for page in book.pages:
            _marked_stories(book, page, reading)
    else:
        _headed_stories(book, reading)
    return reading


def _marked_stories(book: Book, page: Page, reading: Reading) -> None:
    found = []
    for element in page.body.iter():
        kinds = types(element) if tag(element) else frozenset()
        if kinds & _STORY or (kinds & (_PLAY | _VERSE) and tag(element) in ("article", "section") and _top(element)):
            found.append((element, kinds))
    outer = {ancestor for element, _ in found for ancestor in element.iterancestors()}
    stories = [(element, kinds) for element, kinds in found if element not in outer]
    for element, kinds in stories:
        marked_as = "play" if kinds & _PLAY or _acts(element) else "verse" if kinds & _VERSE else ""
        reading.drafts += draft(book, Flattener().page(element), "", marked_as)
    if not stories:
        reading.skipped[_page_kind(page) or "page without a story"] += 1


def _acts(element: Element) -> bool:
    """Whether most of a story is marked as scenes of a play. A single dialogue in a table does not make a play."""
    scenes = [inner for inner in element if tag(inner) in ("section", "div") and types(inner) & _PLAY]
    return sum(len(content(scene)) for scene in scenes) * 2 > len(content(element))


def _top(element: Element) -> bool:
    return not any(types(ancestor) & (_STORY | _PLAY | _VERSE) for ancestor in element.iterancestors())


def _page_kind(page: Page) -> str:
    """The kind of publisher's page that the markup names; "" for none."""
    sections = [page.body, *(child for child in page.body if tag(child))]
    if len(sections) == 2:
        sections += [child for child in sections[1] if tag(child) in ("section", "div")][:1]
    for element in sections:
        for kind in sorted(types(element)):
            if kind in PAGES:
                return PAGES[kind]
    return ""


def _headed_stories(book: Book, reading: Reading) -> None:
    blocks: list[Block] = []
    first_of: dict[str, int] = {}
    chapters = 0
    for page in book.pages:
        kind = _page_kind(page)
        flat = [] if kind else Flattener().page(page.body)
        heading = next((block for block in flat[:3] if block.kind == "heading"), None)
        kind = kind or (page_name(heading.text) if heading else "")
        if kind or not flat:
            reading.skipped[kind or "empty page"] += 1
            continue
        first_of[page.name] = len(blocks)
        chapters += any("chapter" in types(element) for element in page.body.iter() if tag(element))
        blocks += flat
    one_story = chapters > 0 and not book.collection
    starts = [] if one_story else _starts(_by_contents(book, blocks, first_of))
    if sum(1 for start in starts if start.title) < 2 and not one_story:
        starts = _starts(_by_headings(book, blocks)) or starts
    if not any(start.title for start in starts):
        named = [block for block in blocks if block.kind == "heading" and not is_chapter(block.text)]
        one_heading = len(named) == 1 and any(block is named[0] for block in blocks[:3])
        reading.drafts += draft(book, blocks, "" if one_heading else book.title)
        return
    ends = [start.place for start in starts[1:]] + [len(blocks)]
    for start, end in zip(starts, ends):
        if start.skipped:
            reading.skipped[start.skipped] += 1
        else:
            reading.drafts += draft(book, blocks[start.place : end], start.title)


def _starts(found: Sequence[_Start]) -> list[_Start]:
    """Sort the starts, keep one for each place, and leave out chapters, which belong to the story before them."""
    ordered: list[_Start] = []
    for start in sorted(found, key=lambda start: start.place):
        if ordered and ordered[-1].place == start.place:
            if ordered[-1].skipped and not start.skipped:
                ordered[-1] = start
        elif not start.chapter:
            ordered.append(start)
    return ordered


def _all_numbered(book: Book, headings: Sequence[str]) -> bool:
    """Whether all stories of a collection are numbered. Then a heading with a number and a name is a story, not a chapter."""
    own = [heading for heading in headings if heading and not page_name(heading)]
    return book.collection and len(own) > 1 and all(is_numbered_name(heading) for heading in own)


def _by_contents(book: Book, blocks: Sequence[Block], first_of: dict[str, int]) -> list[_Start]:
    places: dict[tuple[str, str], int] = {}
    order = sorted(first_of.items(), key=lambda item: item[1])
    ends = [first for _, first in order[1:]] + [len(blocks)]
    for (page, first), end in zip(order, ends):
        for place in range(first, end):
            for anchor in blocks[place].anchors:
                places.setdefault((page, anchor), place)
    found: list[_Start] = []
    outermost = [entry.title for entry in book.contents if entry.page in first_of]
    numbered = set(outermost) if _all_numbered(book, outermost) else set()

    def walk(entries: Sequence[Entry]) -> None:
        for entry in entries:
            place = places.get((entry.page, entry.anchor), first_of.get(entry.page))
            named = [inner for inner in entry.inner if not is_chapter(inner.title)]
            part = len(named) * 2 > len(entry.inner)
            if place is not None:
                skipped = page_name(entry.title) or ("page between stories" if part else "")
                chapter = is_chapter(entry.title) and entry.title not in numbered
                found.append(_Start(place, "" if skipped or chapter else entry.title, skipped, chapter and not part))
            if part:
                walk(entry.inner)

    walk(book.contents)
    return found


def _by_headings(book: Book, blocks: Sequence[Block]) -> list[_Start]:
    """The starts by headings, down to the highest level on which at least two headings are names."""
    headings = [(place, block) for place, block in enumerate(blocks) if block.kind == "heading"]
    levels = Counter(block.level for _, block in headings if not page_name(block.text))
    top = min((level for level, count in levels.items() if count > 1), default=0)
    highest = [block.text for _, block in headings if block.level == top]
    numbered = set(highest) if _all_numbered(book, highest) else set()
    chapters = {block.text for _, block in headings if is_chapter(block.text)} - numbered
    named = Counter(block.level for _, block in headings if block.text not in chapters and not page_name(block.text))
    deepest = min((level for level, count in named.items() if count > 1), default=0)
    return [
        _Start(
            place, "" if page_name(block.text) else block.text, page_name(block.text), chapter=block.text in chapters
        )
        for place, block in headings
        if block.level <= deepest
    ]


def draft(book: Book, blocks: Sequence[Block], title: str, marked_as: str = "") -> list[Draft]:
    """The story in these blocks, without its heading and byline; an empty list if there is no text."""
    rest, author = list(blocks), ""
    while rest and (rest[0].kind != "paragraph" or byline(rest[0].text)):
        first = rest.pop(0)
        if first.kind == "heading" and (_same(first, title) if title else not is_chapter(first.text)):
            title = first.name or first.text
        elif first.kind == "heading" and rest and not byline(first.text):
            if title:  # the first chapter of a story
                rest.insert(0, first)
                break
            title = first.name or first.text
        elif name := byline(first.text) or (clean_name(first.text) if first.kind == "byline" else ""):
            author = author or name
    text = compose([block for block in rest if block.kind != "byline"])
    if not text:
        return []
    named = clean_title(title) or book.title
    return [Draft(named, text, author or book.author, book.title, book.language, "", marked_as, dict(book.facts))]


def _same(heading: Block, title: str) -> bool:
    names = {clean_title(heading.text).casefold(), clean_title(heading.name).casefold()}
    return clean_title(title).casefold() in names
