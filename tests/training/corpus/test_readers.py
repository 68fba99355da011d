"""Word documents, plain text and JSONL."""

from __future__ import annotations

import gzip
import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
from docx import Document
from docx.enum.text import WD_BREAK

from tests.training.conftest import CORPUS
from tests.training.corpus.books import OTHER, prose
from training.common.errors import MendableError
from training.corpus.readers.docx import read_docx
from training.corpus.readers.jsonl import read_jsonl
from training.corpus.readers.plain import decode, read_text
from training.corpus.stories import read_stories


def wrapped(text: str, width: int = 72) -> str:
    lines = [textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False) for line in text.split("\n")]
    return "\n".join(lines)


def corpus_texts(step: int) -> list[dict[str, Any]]:
    if not CORPUS.exists():
        pytest.skip("the corpus ../shared/corpus is not here")
    with gzip.open(CORPUS, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for number, line in enumerate(lines) if number % step == 0]


# Word


def test_a_document_with_two_stories(tmp_path: Path) -> None:
    document = Document()
    document.core_properties.author, document.core_properties.title = "Ann Author", "Two Tales"
    document.add_heading("Two Tales", 0)
    document.add_heading("The First", 1)
    document.add_paragraph("by Bea Byline")
    paragraph = document.add_paragraph("He ")
    paragraph.add_run("did").italic = True
    paragraph.add_run(" come.")
    verse = document.add_paragraph("one").runs[0]
    verse.add_break(WD_BREAK.LINE)
    verse.add_text("two")
    document.add_paragraph("***")
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "left", "right"
    document.add_heading("The Second", 1)
    document.add_heading("I", 2)
    document.add_paragraph("It", style="Normal").add_run(" rained", style="Emphasis")
    document.add_heading("About the Author", 1)
    document.add_paragraph("She lives.")
    document.save(str(tmp_path / "two.docx"))
    reading = read_docx(tmp_path / "two.docx")
    first, second = reading.drafts
    assert (first.title, first.author, first.anthology) == ("The First", "Bea Byline", "Two Tales")
    assert first.text == "He *did* come.\n\none\ntwo\n\n* * *\n\nleft right"
    assert (second.title, second.author, second.text) == ("The Second", "Ann Author", "## I\n\nIt *rained*")
    assert reading.skipped == {"publisher's page": 1}


def test_a_document_with_one_story_in_chapters(tmp_path: Path) -> None:
    document = Document()
    document.core_properties.author = "Ann Author"
    document.add_heading("The Long Walk", 0)
    for number in ("Chapter One", "Chapter Two"):
        document.add_heading(number, 1)
        document.add_paragraph(prose(len(number), 60))
    document.save(str(tmp_path / "one.docx"))
    (story,) = read_docx(tmp_path / "one.docx").drafts
    assert (story.title, story.author) == ("The Long Walk", "Ann Author")
    assert story.text.startswith("## Chapter One\n\n")
    assert "\n\n## Chapter Two\n\n" in story.text


def test_deleted_words_notes_and_fields_are_left_out(tmp_path: Path) -> None:
    document = Document()
    document.add_paragraph("Kept.")
    document.save(str(tmp_path / "d.docx"))
    from tests.training.corpus.test_hostile import replaced

    body = (
        "<w:p><w:r><w:t>One</w:t></w:r><w:del><w:r><w:delText>no</w:delText><w:t>no</w:t></w:r></w:del><w:ins><w:r><w:t> two</w:t></w:r></w:ins>"
        "<w:r><w:footnoteReference w:id='1'/></w:r><w:r><w:instrText>PAGE</w:instrText></w:r><w:r><w:tab/><w:t>three</w:t></w:r>"
        "<w:hyperlink><w:r><w:t> four</w:t></w:r></w:hyperlink><w:r><w:noBreakHyphen/><w:softHyphen/><w:t>five</w:t></w:r></w:p>"
    )
    xml = f"<w:document xmlns:w='http://schemas.openxmlformats.org/wordprocessingml/2006/main'><w:body>{body}</w:body></w:document>"
    (story,) = read_docx(replaced(tmp_path / "d.docx", "word/document.xml", xml.encode())).drafts
    assert story.text == "One two three four-five"


# Text


def test_wrapped_stories_of_the_corpus_are_restored(tmp_path: Path) -> None:
    records = corpus_texts(40)
    same = 0
    for record in records:
        path = tmp_path / "a story.txt"
        path.write_text(f"{record['title']}\n\nby {record['author']}\n\n{wrapped(record['text'])}")
        (story,) = read_text(path).drafts
        mine, theirs = (text.replace("## ", "").split("\n\n") for text in (story.text, record["text"]))
        assert abs(len(mine) - len(theirs)) <= 2, record["title"]
        same += sum(block in theirs for block in mine) >= 0.97 * len(mine)
        assert story.author in (record["author"], "")
    assert same >= 0.97 * len(records)


def test_a_book_of_project_gutenberg(tmp_path: Path) -> None:
    titles = ["The Lamp", "A Winter Door", "Nobody's Boat"]
    stories = "\n\n\n".join(f"{title.upper()}\n\n{wrapped(prose(n, 300))}" for n, title in enumerate(titles))
    text = (
        "The Project Gutenberg eBook of Three\n\nTitle: Three\n\nAuthor: Ann Author\n\nLanguage: English\n\n"
        "*** START OF THE PROJECT GUTENBERG EBOOK THREE ***\n\nProduced by Nobody\n\nTHREE\n\nby Ann Author\n\n\nCONTENTS\n\n"
        + "\n".join(f"  {title} .... {n}" for n, title in enumerate(titles))
        + f"\n\n\n{stories}\n\n[Illustration: a boat]\n\n*** END OF THE PROJECT GUTENBERG EBOOK THREE ***\n\nSection 1. Licence"
    )
    (tmp_path / "three.txt").write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    drafts = read_text(tmp_path / "three.txt").drafts
    assert [(d.title, d.author, d.anthology, d.language) for d in drafts] == [
        (t, "Ann Author", "Three", "en") for t in titles
    ]
    assert [draft.text for draft in drafts] == [prose(n, 300) for n in range(3)]


def test_titles_in_capitals_and_bylines(tmp_path: Path) -> None:
    path = tmp_path / "b.txt"
    path.write_text(
        "\n\n".join(f"THE STORY OF {n}\n\n{prose(n, 200)}" for n in ("ONE HAND", "TWO LANDS", "THREE SEAS"))
    )
    assert [draft.title for draft in read_text(path).drafts] == [
        "The Story of One Hand",
        "The Story of Two Lands",
        "The Story of Three Seas",
    ]
    path.write_text("\n\n".join(f"Story {n}\n\nBy {n} Writer\n\n{prose(n, 200)}" for n in ("Ann", "Bea")))
    assert [(draft.title, draft.author) for draft in read_text(path).drafts] == [
        ("Story Ann", "Ann Writer"),
        ("Story Bea", "Bea Writer"),
    ]
    path.write_text(f"CHAPTER I\n\n{prose(1, 200)}\n\nCHAPTER II\n\n{prose(2, 200)}")
    (one,) = read_text(path).drafts
    assert (one.title, one.text.count("## CHAPTER")) == ("b", 2)


def test_page_numbers_running_heads_and_hyphenated_words(tmp_path: Path) -> None:
    blocks = []
    for page in range(12):
        blocks.append(
            f"The lamp was burn-\ning on page and the keep-\ner wai-\nted, as he had on every night of that year, for the\nship {page} that"
        )
        blocks += [f"{page + 20}", f"THE LAMP   {page + 21}"]
        blocks.append("never came to the harbour, although it burning had been seen there.")
    (tmp_path / "p.txt").write_text("\n\n".join(blocks) + "\n\nThe keeper waited.")
    (story,) = read_text(tmp_path / "p.txt").drafts
    assert "lamp was burning on page and the keeper waited" in story.text
    assert "THE LAMP" not in story.text
    assert "ship 3 that never came" in story.text
    assert not any(block.isdigit() for block in story.text.split("\n\n"))


def test_verse_keeps_its_lines_and_indents_begin_paragraphs(tmp_path: Path) -> None:
    poem = "Roses are red,\nViolets are blue."
    (tmp_path / "v.txt").write_text(
        f"{wrapped(prose(1, 100))}\n\n    {poem.replace(chr(10), chr(10) + '    ')}\n\n{wrapped(prose(2, 100))}"
    )
    assert poem in read_text(tmp_path / "v.txt").drafts[0].text.split("\n\n")
    indented = "\n".join(wrapped("  " + block) for block in prose(3, 300).split("\n\n"))
    (tmp_path / "i.txt").write_text(indented)
    assert read_text(tmp_path / "i.txt").drafts[0].text == prose(3, 300)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030"])
def test_chinese_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    if not OTHER.exists():
        pytest.skip("the corpus ../shared/corpus is not here")
    with gzip.open(OTHER, "rt", encoding="utf-8") as lines:
        text = json.loads(next(lines))["text"]
    folded = "\n\n".join("\n".join(textwrap.wrap(block, 36)) for block in text.split("\n\n"))
    for number, written in enumerate((text, folded)):
        (tmp_path / "鸭的喜剧.txt").write_bytes(written.encode(encoding))
        reading = read_text(tmp_path / "鸭的喜剧.txt")
        assert [draft.title for draft in reading.drafts] == ["鸭的喜剧"]
        assert reading.drafts[0].text.replace("\n", "") == text.replace("\n", "")
        assert number or reading.drafts[0].text == text
        assert bool(reading.notes) == (encoding == "gb18030")


def test_windows_1252_is_the_last_resort_and_noted() -> None:
    text, note = decode("“Naïve,” he said.".encode("cp1252"))
    assert text == "“Naïve,” he said."
    assert "guessed to be Windows-1252" in note


# JSONL


def test_records_with_and_without_facts(tmp_path: Path) -> None:
    records = [
        {"text": "One.", "title": "T", "author": "A", "year": 1900, "pd_scope": "US", "translators": ["B"], "other": 5},
        {"text": "Two.", "title": None},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\ufeff" + "\n".join(map(json.dumps, records)), "utf-8")
    first, second = read_jsonl(path).drafts
    assert (first.title, first.author) == ("T", "A")
    assert first.facts == {"year": 1900, "pd_scope": "US", "translators": ["B"]}
    assert (second.title, second.facts) == ("", {})


def test_read_stories_takes_plain_and_gzipped_files(tmp_path: Path) -> None:
    lines = "".join(
        json.dumps({"id": str(n), "author": "A", "anthology": "B", "title": "C", "text": "D"} | extra) + "\n"
        for n, extra in enumerate([{}, {"pd_scope": "US"}, {"language": "zh"}])
    )
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    for name in ("a.jsonl", "a.jsonl.gz"):
        found = read_stories(tmp_path / name)
        assert [(story.pd_scope, story.language) for story in found] == [("", "en"), ("US", "en"), ("", "zh")]
        assert len(read_stories(tmp_path / name, "US")) == 1
    (tmp_path / "b.jsonl").write_text("\n")
    with pytest.raises(MendableError, match=r"has no story\."):
        read_stories(tmp_path / "b.jsonl")
    (tmp_path / "c.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(MendableError, match="is not a gzipped JSONL file of stories, nor a plain one"):
        read_stories(tmp_path / "c.jsonl")
