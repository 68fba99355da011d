"""The whole import: the same bytes with any number of processes, complete or not at all, and a full report."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import re
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from tests.training.corpus.books import epub, paragraphs, prose
from training.common.errors import MendableError
from training.config.settings import read_settings
from training.corpus import build, output
from training.corpus.build import _read_all, build_corpus
from training.corpus.report import CorpusReport, histogram
from training.corpus.settings import CorpusSettings
from training.corpus.sources import find_sources
from training.corpus.stories import read_stories

EVIL = "<script>alert('x')</script>"


def record(number: int, **changes: Any) -> dict[str, Any]:
    story = {
        "id": f"s{number}",
        "author": f"Author {chr(65 + number % 8)}",
        "anthology": f"Book {number % 8}",
        "title": f"Story {number}",
        "pd_scope": "US",
        "text": prose(number, 350),
    }
    return story | changes


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder with stories, copies, other texts, an EPUB, a broken book, a pipe and a picture."""
    folder = tmp_path / "sources"
    (folder / "more").mkdir(parents=True)
    copy = {
        "text": prose(2, 350).replace("“", "*").replace(".", "!"),
        "year": 1899,
        "author": "author c",
        "title": "Copy",
    }
    near = {"text": prose(3, 350) + "\n\nOne more line at the end.", "title": "Longer"}
    write(
        folder / "a.jsonl",
        [
            *(record(number) for number in range(24)),
            record(24, **copy),
            record(25, **near),
            record(26, text="Too short.", title=f"Bad {EVIL}"),
            record(27, text="\n\n".join(f"Item number {n} of list" for n in range(200)), title="A List"),
        ],
    )
    pages = {
        "a.xhtml": f"<h2>A Tale &amp; More</h2>{paragraphs(prose(50, 400))}",
        "b.xhtml": f"<h2>Another</h2>{paragraphs(prose(51, 400))}",
        "c.xhtml": "<h2>Copyright</h2><p>All rights reserved.</p>",
    }
    epub(folder / "more" / "book.epub", pages)
    (folder / "more" / "broken.epub").write_bytes(b"PK\x03\x04")
    (folder / "more" / "picture.png").write_bytes(b"")
    os.mkfifo(folder / "pipe.txt")
    (folder / "loop").symlink_to(folder)
    return folder


def settings(sources: Path, out: Path, **changes: Any) -> CorpusSettings:
    return CorpusSettings.model_validate(
        {"sources": [sources], "out": out, "workers": 1, "quality_threshold": 0} | changes
    )


def lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def silent(_: str) -> None:
    pass


def test_the_files_of_an_import(sources: Path, tmp_path: Path) -> None:
    said: list[str] = []
    report = build_corpus(settings(sources, tmp_path / "out", held_out_share=0.1), said.append)
    out = tmp_path / "out"
    names = ["held_out.jsonl.gz", "rejected.jsonl.gz", "report.html", "report.json", "train.jsonl.gz"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "sources"]
    train, held_out, rejected = (lines(out / f"{name}.jsonl.gz") for name in ("train", "held_out", "rejected"))
    assert report.kept == len(train) + len(held_out) == 26
    assert {story["title"] for story in train + held_out} >= {"A Tale & More", "Another", "Longer", "Story 0"}
    assert {(one["title"], one["rule"]) for one in rejected} == {
        ("Copy", "exact duplicate"),
        ("Story 3", "near duplicate"),
        (f"Bad {EVIL}", "too short"),
        ("A List", "language"),
    }
    near = next(one for one in rejected if one["rule"] == "near duplicate")
    assert near["of"] == "s25"
    assert near["similarity"] > 0.9
    assert "nearly the same as “Longer”" in near["reason"]
    assert not {story["author"] for story in train} & {story["author"] for story in held_out}
    assert not {story["anthology"] for story in train} & {story["anthology"] for story in held_out}
    assert 0 < report.held_out.stories <= 6
    read = read_stories(out / "train.jsonl.gz")
    assert len(read) == len(train)
    known = next(story for story in train + held_out if story["title"] == "Story 2")
    assert (known["year"], known["pd_scope"], known["author"]) == (1899, "US", "Author C")
    assert any("broken.epub: cannot be read: it is not a complete zip archive" in line for line in said)
    assert said[-1].startswith("Written to")


def test_the_report_is_complete(sources: Path, tmp_path: Path) -> None:
    report = build_corpus(settings(sources, tmp_path / "out"), silent)
    written = CorpusReport.model_validate_json((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert written == report.model_copy(update={"examples": {}, "seconds": {}})
    by_name = {source.source: source for source in written.sources}
    assert by_name["sources/a.jsonl"].kept == 24
    assert by_name["sources/more/book.epub"].skipped == {"copyright page": 1}
    assert "not a complete zip archive" in by_name["sources/more/broken.epub"].error
    assert "was not opened" in by_name["sources/pipe.txt"].error
    assert written.ignored == {".png": 1, "links, pipes and devices": 1}
    assert sum(bar.train + bar.held_out for bar in written.histogram) == written.kept
    assert sum(author.stories for author in written.authors) == written.kept
    assert sum(written.reasons.values()) == written.rejected == 4
    assert set(report.seconds) == {"read", "clean and filter", "duplicates", "split", "write"}
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "&lt;script&gt;" in page
    assert not re.search(r"<script|https?://|<link|@import|url\(|<img", page)
    assert "<svg" in page


def test_the_same_bytes_with_any_number_of_processes(sources: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        build_corpus(settings(sources, tmp_path / str(workers), workers=workers, quality_threshold=0.4), silent)
    for path in (tmp_path / "1").iterdir():
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes()


def test_an_import_replaces_an_earlier_corpus_only(sources: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    build_corpus(settings(sources, out), silent)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    build_corpus(settings(sources, out, min_words=360), silent)
    assert {path.name: path.read_bytes() for path in out.iterdir()} != before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "novel.txt").write_text("years of work")
    with pytest.raises(MendableError, match="contains something other than a corpus"):
        build_corpus(settings(sources, tmp_path / "mine"), silent)
    (tmp_path / "mine" / "report.json").write_text('{"made_by": "somebody"}')
    with pytest.raises(MendableError, match="contains something other than a corpus"):
        build_corpus(settings(sources, tmp_path / "mine"), silent)
    assert (tmp_path / "mine" / "novel.txt").read_text() == "years of work"
    with pytest.raises(MendableError, match="is a file; name a folder"):
        build_corpus(settings(sources, tmp_path / "mine" / "novel.txt"), silent)
    (tmp_path / "empty").mkdir()
    build_corpus(settings(sources, tmp_path / "empty"), silent)
    for source, place in ((sources, sources / "out"), (out / "train.jsonl.gz", out), (sources, sources)):
        with pytest.raises(MendableError, match="are inside each other"):
            build_corpus(settings(source, place), silent)


@pytest.mark.parametrize("breaks", ["page", "_replace"])
def test_a_failed_import_leaves_the_old_corpus(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: str
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    build_corpus(settings(sources, tmp_path / "out"), silent)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr(output, breaks, full)
    with pytest.raises(MendableError, match=r"cannot be written to .*No space left on device"):
        build_corpus(settings(sources, tmp_path / "out", min_words=360), silent)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "sources"]


def test_errors_name_the_cause(tmp_path: Path) -> None:
    (tmp_path / "a.epub").write_bytes(b"nothing")
    (tmp_path / "b.pdf").write_bytes(b"nothing")
    (tmp_path / "c.jsonl").write_text('{"text": "Short."}\n')
    (tmp_path / "empty").mkdir()
    for names, says in (
        (["a.epub"], r"a\.epub is not a complete zip archive"),
        (["b.pdf"], r"b\.pdf is a PDF"),
        (["a.epub", "b.pdf", "none.txt"], r"None of the 3 sources can be read\. The first: .*a\.epub is not"),
        (["c.jsonl"], "No story is left of 1. Most were rejected by the rule “too short”"),
        (["empty"], "There is no EPUB, DOCX, text or JSONL file in"),
    ):
        asked = CorpusSettings(sources=tuple(tmp_path / name for name in names), out=tmp_path / "out", workers=1)
        with pytest.raises(MendableError, match=says) as caught:
            build_corpus(asked, silent)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_crashed_process_loses_only_its_source(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that crashes its reader (here by a patched reader) is an error in the report."""
    deadly = tmp_path / "deadly.py"
    deadly.write_text(
        "import os\nimport training.corpus.readers.plain as plain\nread = plain.read_text\n"
        "plain.read_text = lambda path: os._exit(9) if 'kill' in path.name else read(path)\n"
    )
    (sources / "kill.txt").write_text(prose(60, 400))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.getcwd()}")
    (tmp_path / "sitecustomize.py").write_text("import deadly\n")
    report = build_corpus(settings(sources, tmp_path / "out", workers=2), silent)
    errors = {source.source: source.error for source in report.sources}
    assert "crashed the process that read it" in errors["sources/kill.txt"]
    assert errors["sources/a.jsonl"] == ""
    assert report.kept == 26


def test_a_process_that_crashes_before_all_sources_are_submitted(sources: Path) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(BrokenProcessPool):
            pool.submit(os._exit, 9).result()
        reads = _read_all(find_sources([sources])[0], pool, silent)
    assert len(reads) > 2
    assert not [read.error for read in reads if "crashed the process" in read.error]


def test_sources_with_the_same_name_and_repeated_ids(tmp_path: Path) -> None:
    for folder, first in (("x", 0), ("y", 20)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "a.jsonl", [record(first + n, id="same") for n in range(4)])
    asked = CorpusSettings(
        sources=(tmp_path / "x" / "a.jsonl", tmp_path / "y" / "a.jsonl"),
        out=tmp_path / "out",
        workers=1,
        quality_threshold=0,
    )
    report = build_corpus(asked, silent)
    assert [source.source for source in report.sources] == [f"{tmp_path}/x/a.jsonl", f"{tmp_path}/y/a.jsonl"]
    ids = [story["id"] for name in ("train", "held_out") for story in lines(tmp_path / "out" / f"{name}.jsonl.gz")]
    assert sorted(ids) == ["same", *(f"same-{number}" for number in range(2, 9))]


def test_a_single_author_is_not_divided(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [record(n, author="Ann", anthology="") for n in range(4)])
    report = build_corpus(settings(tmp_path / "a.jsonl", tmp_path / "out"), silent)
    assert report.held_out.stories == 0
    assert "all stories are connected" in report.notes[0]
    assert lines(tmp_path / "out" / "held_out.jsonl.gz") == []


def test_wrapped_records_are_joined_and_missing_authors_are_unknown(tmp_path: Path) -> None:
    from tests.training.corpus.test_readers import wrapped

    blocks = "\n\n".join(wrapped(block) for block in prose(70, 800).split("\n\n"))
    write(tmp_path / "a.jsonl", [{"text": blocks, "title": "W"}])
    build_corpus(settings(tmp_path / "a.jsonl", tmp_path / "out"), silent)
    (story,) = lines(tmp_path / "out" / "train.jsonl.gz")
    assert (story["author"], story["anthology"], story["language"]) == ("Unknown", "", "en")
    assert story["text"] == prose(70, 800)


def test_settings_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "corpus.toml").write_text('sources = ["a"]\nout = "b"\nmin_words = 500\n')
    assert read_settings(tmp_path / "corpus.toml", CorpusSettings).min_words == 500
    (tmp_path / "corpus.toml").write_text('sources = []\nout = "b"\nmin_word = 500\n')
    with pytest.raises(MendableError, match=r"sources: .*min_word: "):
        read_settings(tmp_path / "corpus.toml", CorpusSettings)
    with pytest.raises(ValueError, match="max_words"):
        CorpusSettings(sources=(Path("a"),), out=Path("b"), max_words=100)


def test_the_histogram_counts_every_story() -> None:
    bars = histogram([(350, False), (900, True), (4_000, False), (50_000, False)] + [(3_000, False)] * 200)
    assert sum(bar.train + bar.held_out for bar in bars) == 204
    assert bars[-1].most is None
    assert sum(bar.held_out for bar in bars) == 1
    assert histogram([]) == []
    assert build.UNKNOWN == "Unknown"
