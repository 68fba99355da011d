"""EPUB: eight anthologies whose stories are known, and small books of many forms."""

from __future__ import annotations

import gzip
import json
import statistics
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import regex
from rapidfuzz.distance import LCSseq

from tests.training.conftest import CORPUS
from tests.training.corpus.books import ANTHOLOGIES, PAGE, epub, paragraphs, prose
from training.corpus import cut, flatten
from training.corpus.drafts import Reading
from training.corpus.readers import epub as reader
from training.corpus.readers.epub import read_epub

PUBLISHER = regex.compile(r"Standard Ebooks|public domain|Uncopyright|CC0", regex.IGNORECASE)


def words(text: str) -> list[str]:
    """The words without markup, and without the word joiners that cleaning removes."""
    plain = regex.sub(r"[\u2060\u00ad\u200b]", "", text).replace("*", "").replace("## ", "")
    return regex.findall(r"[\p{L}\p{N}’']+", plain)


@pytest.fixture(scope="module")
def truth() -> dict[str, list[dict[str, Any]]]:
    if not ANTHOLOGIES.is_dir():
        pytest.skip("the corpus ../shared/corpus is not here")
    found = defaultdict(list)
    with gzip.open(CORPUS, "rt", encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            found[record["source_repo"].partition("/")[2]].append(record)
    return found


@cache
def known_book(path: Path) -> Reading:
    return read_epub(path)


def measured(
    truth: dict[str, list[dict[str, Any]]], read: Callable[[Path], Reading] = read_epub
) -> tuple[float, float, float]:
    """The share of stories that are found by their title, and the median and lowest similarity of their texts."""
    asked, similar = 0, []
    for path in sorted(ANTHOLOGIES.glob("*.epub")):
        by_title = {draft.title: draft for draft in read(path).drafts}
        for record in truth[path.stem]:
            asked += 1
            if draft := by_title.get(record["title"]):
                similar.append(LCSseq.normalized_similarity(words(draft.text), words(record["text"])))
    return len(similar) / asked, statistics.median(similar), min(similar)


def test_the_stories_of_eight_anthologies_are_complete(truth: dict[str, list[dict[str, Any]]]) -> None:
    found, median, worst = measured(truth, known_book)  # 1.0, 1.0, 0.998
    assert found >= 0.98
    assert median >= 0.99
    assert worst >= 0.99


@pytest.mark.parametrize("contents", [True, False])
def test_stories_are_found_without_semantic_markup(
    truth: dict[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, contents: bool
) -> None:
    """By the table of contents, or by headings alone."""
    for module in (cut, flatten):
        monkeypatch.setattr(module, "types", lambda element: frozenset())
    if not contents:
        monkeypatch.setattr(reader, "_contents", lambda *arguments: [])
    found, median, worst = measured(truth)  # 1.0, 1.0, 0.998
    assert found >= 0.98
    assert median >= 0.99
    assert worst >= 0.97


def test_no_publishers_page_is_a_story(truth: dict[str, list[dict[str, Any]]]) -> None:
    for path in sorted(ANTHOLOGIES.glob("*.epub")):
        reading = known_book(path)
        assert not [draft.title for draft in reading.drafts if PUBLISHER.search(draft.text)]
        assert {"title page", "imprint", "colophon", "copyright page"} <= set(reading.skipped)


def test_authors_translators_and_books(truth: dict[str, list[dict[str, Any]]]) -> None:
    for path in sorted(ANTHOLOGIES.glob("*.epub")):
        drafts, known = known_book(path).drafts, truth[path.stem][0]
        assert {(draft.author, draft.anthology, draft.language) for draft in drafts} == {
            (known["author"], known["anthology"], "en")
        }
        assert drafts[0].facts.get("translators") == known.get("translators")


def test_plays_and_poems_are_marked(truth: dict[str, list[dict[str, Any]]]) -> None:
    saki = known_book(ANTHOLOGIES / "saki_short-fiction.epub").drafts
    assert [draft.title for draft in saki if draft.marked_as == "play"] == [
        "New Wine in Old Bottles",
        "The Baker’s Dozen",
    ]
    cane = known_book(ANTHOLOGIES / "jean-toomer_cane.epub").drafts
    assert sum(draft.marked_as == "verse" for draft in cane) == 15


BODY = """
<section epub:type='chapter'><header><h2>THE OLD DOOR</h2><p class='byline'>by Jane Doe</p>
<blockquote epub:type='epigraph'><p>Not mine.</p></blockquote></header>
<p>He <em>did</em> come<a href='notes.xhtml#n1' epub:type='noteref'>1</a>, and<sup><a href='#fn2'>2</a></sup> she<i> left </i>again.</p>
<p>First<span epub:type='pagebreak' id='p2'>22</span> line<br/>second <i>line<br/>third</i></p>
<hr/>
<figure><img src='a.png' alt='A picture'/><figcaption>Not text</figcaption></figure>
<h3>Two</h3>
<p>All <i>of <em>it</em> slants</i>.</p>
<table><tr><td>one</td><td>two</td></tr><tr><td>three</td></tr></table>
<p class='scene'>* * *</p>
<p>The end came.</p>
<footer><p>Paris, 1900.</p></footer></section>
"""


def test_the_format_of_a_story(tmp_path: Path) -> None:
    pages = {"a.xhtml": BODY, "b.xhtml": f"<h2>Another</h2>{paragraphs(prose(1))}"}
    nav = "<li><a href='a.xhtml'>The Old Door</a></li><li><a href='b.xhtml'>Another</a></li>"
    metadata = "<dc:title>Ten Tales</dc:title><dc:creator>Ann Author</dc:creator><dc:language>en-GB</dc:language>"
    story = read_epub(epub(tmp_path / "a.epub", pages, nav=nav, metadata=metadata)).drafts[0]
    assert (story.title, story.author, story.anthology, story.language) == (
        "The Old Door",
        "Jane Doe",
        "Ten Tales",
        "en",
    )
    assert story.text.split("\n\n") == [
        "He *did* come, and she *left* again.",
        "First line\nsecond *line*\n*third*",
        "## Two",
        "All *of* it *slants*.",  # emphasis inside emphasis stands upright
        "one two\nthree",
        "* * *",
        "The end came.",
    ]


def test_epub_2_with_a_dtd_and_its_entities(tmp_path: Path) -> None:
    page = (
        "<?xml version='1.0'?><!DOCTYPE html PUBLIC '-//W3C//DTD XHTML 1.1//EN' 'http://www.w3.org/TR/xhtml11/DTD/xhtml11.dtd'>"
        "<html xmlns='http://www.w3.org/1999/xhtml'><body><h1>{title}</h1><p>Caf&eacute;&nbsp;noir&mdash;she said.</p>{text}</body></html>"
    )
    pages = {f"{n}.html": page.format(title=f"Tale of {n}", text=paragraphs(prose(n, 100))) for n in "abc"}
    pages["d.html"] = page.format(title="About the Author", text="")
    ncx = "".join(
        f"<navPoint><navLabel><text>Tale of {n}</text></navLabel><content src='{n}.html'/></navPoint>" for n in "abc"
    )
    ncx += "<navPoint><navLabel><text>About the Author</text></navLabel><content src='d.html'/></navPoint>"
    metadata = (
        "<dc:title>Three</dc:title><dc:creator opf:role='aut'>Ann Author</dc:creator>"
        "<dc:creator opf:role='ill'>Not Her</dc:creator><dc:language>en</dc:language>"
    )
    reading = read_epub(epub(tmp_path / "two.epub", pages, ncx=ncx, metadata=metadata))
    assert [draft.title for draft in reading.drafts] == ["Tale of a", "Tale of b", "Tale of c"]
    assert reading.drafts[0].text.startswith("Café noir—she said.")
    assert {draft.author for draft in reading.drafts} == {"Ann Author"}
    assert reading.skipped == {"publisher's page": 1}


def test_several_stories_on_one_page_and_one_story_on_several(tmp_path: Path) -> None:
    pages = {
        "title.xhtml": "<h1>Two Tales</h1><p>by Ann Author</p>",
        "one.xhtml": f"<h2 id='a'>The First</h2>{paragraphs(prose(1, 100))}<h2 id='b'>The Second</h2><h3>I</h3>{paragraphs(prose(2, 100))}",
        "two.xhtml": f"<h3>II</h3>{paragraphs(prose(3, 100))}",
        "notes.xhtml": "<h2>Notes</h2><p>1. A note.</p>",
    }
    nav = (
        "<li><a href='one.xhtml#a'>The First</a></li><li><a href='one.xhtml#b'>The Second</a><ol><li><a href='one.xhtml#b'>I</a></li>"
        "<li><a href='two.xhtml'>II</a></li></ol></li><li><a href='notes.xhtml'>Notes</a></li>"
    )
    for contents in (nav, ""):
        first, second = read_epub(epub(tmp_path / "b.epub", pages, nav=contents)).drafts
        assert (first.title, first.text) == ("The First", prose(1, 100))
        assert second.title == "The Second"
        assert second.text == f"## I\n\n{prose(2, 100)}\n\n## II\n\n{prose(3, 100)}"


def test_a_novel_is_one_story(tmp_path: Path) -> None:
    pages = {
        f"{n}.xhtml": f"<section epub:type='chapter'><h2>A Name {n}</h2>{paragraphs(prose(n, 100))}</section>"
        for n in range(4)
    }
    nav = "".join(f"<li><a href='{name}'>A Name {name[0]}</a></li>" for name in pages)
    (novel,) = read_epub(epub(tmp_path / "n.epub", pages, nav=nav)).drafts
    assert novel.title == "A Book"
    assert novel.text.count("## A Name") == 3 or novel.text.count("## A Name") == 4


def test_a_page_that_is_not_xml_is_read_as_html(tmp_path: Path) -> None:
    page = PAGE.format(body=f"<h2>Loose</h2><p>One <b>two <i>three</b></i><br>four &nbsp;five<p>{prose(1, 60)}")
    (story,) = read_epub(epub(tmp_path / "l.epub", {"a.xhtml": page.replace("<title>page</title>", "<title/>")})).drafts
    assert story.title == "Loose"
    assert story.text.startswith("One two *three*\nfour five\n\n")


def test_ruby_annotations_are_removed_and_chinese_is_kept(tmp_path: Path) -> None:
    metadata = "<dc:title>呐喊</dc:title><dc:creator>鲁迅</dc:creator><dc:language>zh-Hans</dc:language>"
    pages = {
        "a.xhtml": "<h2>狂人日记</h2><p>今天晚上，<ruby>很<rt>hen</rt></ruby>好的月光。</p>",
        "b.xhtml": "<h2>药</h2><p>秋天的后半夜。</p>",
    }
    first, second = read_epub(epub(tmp_path / "zh.epub", pages, metadata=metadata)).drafts
    assert (first.title, first.text, first.language, first.author) == (
        "狂人日记",
        "今天晚上，很好的月光。",
        "zh-Hans",
        "鲁迅",
    )
    assert second.title == "药"
