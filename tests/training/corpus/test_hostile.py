"""Broken and hostile sources give a plain error, within bounded time and memory."""

from __future__ import annotations

import gzip
import io
import os
import random
import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from docx import Document
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.conftest import ROOT
from tests.training.corpus.books import CONTAINER, PAGE, epub, paragraphs, prose, zipped
from training.corpus.bounded import Archive, SourceError, open_source
from training.corpus.sources import Source, kind_of, read_source

MIB = 2**20
READ = """
import sys, time
from pathlib import Path
from training.corpus.sources import Source, kind_of, read_source
path = Path(sys.argv[1])
begun = time.process_time()
read = read_source(Source(path, path.name, kind_of(path.name)))
print(len(read.reading.drafts), read.error)
"""


def read(path: Path) -> str:
    """The error of a source; "" for none."""
    return read_source(Source(path, path.name, kind_of(path.name))).error


def read_bounded(path: Path, *, seconds: int = 30, memory: int = 1536 * MIB) -> str:
    """The same in a process with these limits, which include the interpreter and its libraries."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))

    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.partition(" ")[2].strip()


def book(tmp_path: Path, **parts: bytes) -> Path:
    """A valid book of one story, with some parts replaced or added."""
    names = {"container": "META-INF/container.xml", "opf": "OEBPS/book.opf", "page": "OEBPS/a.xhtml"}
    given = {names.get(name, name): data for name, data in parts.items()}
    return epub(tmp_path / "a.epub", {"a.xhtml": f"<h2>One</h2>{paragraphs(prose(1, 400))}"}, parts=given)


def replaced(path: Path, name: str, data: bytes, **changes: int) -> Path:
    """The same archive with one part replaced; `changes` are attributes of its entry."""
    with zipfile.ZipFile(path) as old:
        parts = {entry: old.read(entry) for entry in old.namelist()} | {name: data}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry, content in parts.items():
            info = zipfile.ZipInfo(entry)
            info.compress_type = zipfile.ZIP_DEFLATED
            for attribute, value in changes.items() if entry == name else ():
                setattr(info, attribute, value)
            new.writestr(info, content)
    return path


@pytest.mark.processes
def test_the_unchanged_book_is_valid(tmp_path: Path) -> None:
    assert read(book(tmp_path)) == ""
    assert read_bounded(book(tmp_path)) == ""


# Archives


@pytest.mark.processes
def test_reading_a_zip_bomb_is_stopped(tmp_path: Path) -> None:
    path = replaced(book(tmp_path), "OEBPS/a.xhtml", b"<p>" + b" " * (120 * MIB))
    assert path.stat().st_size < MIB
    assert "reading was stopped" in read_bounded(path)


@pytest.mark.processes
def test_reading_a_part_that_is_too_large_is_stopped(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(40_000).hex().encode()  # compressed 2:1, so that the ratio is not the reason
    path = replaced(book(tmp_path), "OEBPS/a.xhtml", b"<p>" + noise * 300)
    assert "far more than the text of a book" in read_bounded(path)


@pytest.mark.processes
def test_a_directory_with_wrong_sizes(tmp_path: Path) -> None:
    """The declared size is a hundred bytes; unpacked bytes are counted, and the checksum shows that it is wrong."""
    data = bytearray(replaced(book(tmp_path), "OEBPS/a.xhtml", b" " * (30 * MIB)).read_bytes())
    place = data.find(b"OEBPS/a.xhtml", data.find(b"PK\x01\x02")) - 46
    data[place + 24 : place + 28] = struct.pack("<L", 100)
    (tmp_path / "lie.epub").write_bytes(data)
    assert "damaged" in read_bounded(tmp_path / "lie.epub")


def test_parts_that_overlap(tmp_path: Path) -> None:
    """Many names for the same bytes (a quoted overlap) are refused before anything is unpacked."""
    data = book(tmp_path).read_bytes()
    end = data.rfind(b"PK\x05\x06")
    start, size = struct.unpack("<L", data[end + 16 : end + 20])[0], struct.unpack("<L", data[end + 12 : end + 16])[0]
    directory = data[start : start + size]
    count = struct.unpack("<H", data[end + 10 : end + 12])[0]
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2 * count, 2 * count, 2 * size, start, 0)
    (tmp_path / "o.epub").write_bytes(data[:start] + directory * 2 + tail)
    assert "overlap" in read(tmp_path / "o.epub")


@pytest.mark.processes
def test_too_many_parts(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(25_000):
            archive.writestr(f"{number}", b"")
    (tmp_path / "m.epub").write_bytes(file.getvalue())
    assert "more than any book has" in read_bounded(tmp_path / "m.epub")
    entry = b"PK\x01\x02" + bytes(42)  # a directory of a million empty entries
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, 46 * 10**6, 0, 0)
    (tmp_path / "d.epub").write_bytes(entry * 10**6 + tail)
    assert "lists more parts than any book" in read_bounded(tmp_path / "d.epub")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "OEBPS/../../x"])
def test_names_that_lead_out_of_the_archive(tmp_path: Path, name: str) -> None:
    assert "leads out of the archive" in read(replaced(book(tmp_path), name, b"x"))


def test_a_link_inside_the_archive_is_not_followed(tmp_path: Path) -> None:
    path = replaced(book(tmp_path), "OEBPS/a.xhtml", b"/etc/passwd", external_attr=0o120777 << 16)
    assert "a link in place of" in read(path)


@pytest.mark.parametrize(
    "href",
    ["../../secret.xhtml", "/etc/passwd", "%2e%2e/%2e%2e/secret.xhtml", "..%2F..%2Fsecret.xhtml", "a\\..\\b.xhtml"],
)
def test_a_page_outside_of_the_book(tmp_path: Path, href: str) -> None:
    opf = (
        "<package xmlns='http://www.idpf.org/2007/opf'><metadata/><manifest><item id='a' media-type='application/xhtml+xml' "
        f"href='{href}'/></manifest><spine><itemref idref='a'/></spine></package>"
    )
    assert "outside of the book" in read(replaced(book(tmp_path), "OEBPS/book.opf", opf.encode()))
    container = CONTAINER.format(opf=href).encode()
    assert "outside of the book" in read(replaced(book(tmp_path), "META-INF/container.xml", container))


def test_an_encrypted_archive(tmp_path: Path) -> None:
    data = bytearray(book(tmp_path).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = -1
        while (place := data.find(signature, place + 1)) >= 0:
            data[place + offset] |= 1
    (tmp_path / "e.epub").write_bytes(data)
    assert "is encrypted" in read(tmp_path / "e.epub")


def test_a_book_with_drm_and_one_with_obfuscated_fonts(tmp_path: Path) -> None:
    text = (
        "<encryption xmlns='urn:oasis:names:tc:opendocument:xmlns:container'><EncryptedData xmlns='http://www.w3.org/2001/04/xmlenc#'>"
        "<EncryptionMethod Algorithm='{}'/></EncryptedData></encryption>"
    )
    locked = text.format("http://www.w3.org/2001/04/xmlenc#aes128-cbc").encode()
    assert "protected by DRM" in read(replaced(book(tmp_path), "META-INF/encryption.xml", locked))
    fonts = text.format("http://www.idpf.org/2008/embedding").encode()
    assert read(replaced(book(tmp_path), "META-INF/encryption.xml", fonts)) == ""


def test_a_book_that_is_truncated_or_has_a_wrong_checksum(tmp_path: Path) -> None:
    data = book(tmp_path).read_bytes()
    for share in (0.3, 0.9, 0.999):
        (tmp_path / "cut.epub").write_bytes(data[: int(len(data) * share)])
        assert "truncated or damaged" in read(tmp_path / "cut.epub")
    with zipfile.ZipFile(book(tmp_path)) as archive:
        entry = archive.getinfo("OEBPS/a.xhtml")
        place = data.find(struct.pack("<L", entry.CRC))
    broken = data.replace(struct.pack("<L", entry.CRC), struct.pack("<L", entry.CRC ^ 1))
    assert place > 0
    (tmp_path / "crc.epub").write_bytes(broken)
    assert "checksum is wrong" in read(tmp_path / "crc.epub")


def test_parts_that_are_missing(tmp_path: Path) -> None:
    (tmp_path / "a.epub").write_bytes(zipped({"mimetype": b"application/epub+zip"}))
    assert "lacks the part 'META-INF/container.xml'" in read(tmp_path / "a.epub")
    (tmp_path / "b.epub").write_bytes(zipped({"META-INF/container.xml": b"<container/>"}))
    assert "names no package document" in read(tmp_path / "b.epub")
    (tmp_path / "a.docx").write_bytes(zipped({"x": b"y"}))
    assert "lacks word/document.xml" in read(tmp_path / "a.docx")
    (tmp_path / "c.epub").write_bytes(b"PK\x03\x04 no book at all")
    assert "not a complete zip archive" in read(tmp_path / "c.epub")


def test_an_archive_inside_an_archive_is_not_opened(tmp_path: Path) -> None:
    inner = zipped({"bomb": b" " * 10 * MIB})
    assert read(replaced(book(tmp_path), "OEBPS/inner.zip", inner)) == ""


def test_the_limit_is_for_the_whole_archive(tmp_path: Path) -> None:
    noise = random.Random(2).randbytes(7 * MIB)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        for number in range(15):
            made.writestr(str(number), noise)
    with open_source(tmp_path / "a.zip") as handle:
        archive = Archive(handle)
        with pytest.raises(SourceError, match="far more than the text"):
            list(map(archive.read, archive.names()))


# Markup

LAUGHS = "<!DOCTYPE html [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {chr(98 + n)} '{f'&{chr(97 + n)};' * 10}'>" for n in range(12)
)


@pytest.mark.processes
@pytest.mark.parametrize(
    "start",
    [
        LAUGHS + "]>",
        "<!DOCTYPE html [<!ENTITY x SYSTEM 'file://{secret}'>]>",
        "<!DOCTYPE html [<!ENTITY % x SYSTEM 'file://{secret}'>%x;]>",
        "<!DOCTYPE html [<!ENTITY x SYSTEM 'http://127.0.0.1:9/x'>]>",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_neither_expanded_nor_fetched(tmp_path: Path, start: str, encoding: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("SECRET")
    body = PAGE.format(body="<h2 title='&m;'>T</h2><p>&m;&x;</p>").partition("?>")[2]
    page = (f"<?xml version='1.0' encoding='{encoding}'?>" + start.replace("{secret}", str(secret)) + body).encode(
        encoding
    )
    for name in ("OEBPS/a.xhtml", "OEBPS/book.opf"):
        path = replaced(book(tmp_path), name, page)
        error = read_bounded(path, seconds=10) if start.startswith(LAUGHS) else read(path)
        assert error
        assert "entities" in error or "damaged" in error or "no page" in error
        assert "SECRET" not in error


def test_a_file_is_not_read_through_a_dtd(tmp_path: Path) -> None:
    dtd = tmp_path / "x.dtd"
    dtd.write_text("<!ENTITY secret 'SECRET'>")
    body = PAGE.format(body=f"<h2>T</h2><p>A &secret; b.</p>{paragraphs(prose(1))}").partition("?>")[2]
    page = f"<!DOCTYPE html SYSTEM 'file://{dtd}'>{body}".encode()
    path = replaced(book(tmp_path), "OEBPS/a.xhtml", page)
    found = read_source(Source(path, "a", "EPUB")).reading.drafts
    assert [draft.text.partition("\n")[0] for draft in found] == ["A b."]


@pytest.mark.processes
@pytest.mark.parametrize(
    "deep",
    ["<div>" * 100_000, "<div>" * 230 + "x" + "</div>" * 230, "<i>" * 250 + "x" + "</i>" * 250],
    ids=["never closed", "blocks", "inline"],  # the default ids would be longer than an environment variable may be
)
def test_markup_that_nests_too_deep(tmp_path: Path, deep: str) -> None:
    assert "nests more than" in read_bounded(replaced(book(tmp_path), "OEBPS/a.xhtml", PAGE.format(body=deep).encode()))


@pytest.mark.processes
def test_a_page_of_markup_only(tmp_path: Path) -> None:
    page = b"<html><body>" + b"".join(b'<a b%x=""/>' % number for number in range(800_000)) + b"</body></html>"
    assert "more markup" in read_bounded(replaced(book(tmp_path), "OEBPS/a.xhtml", page))


@pytest.mark.processes
def test_a_paragraph_of_many_runs_takes_linear_time(tmp_path: Path) -> None:
    rng = random.Random(4)
    runs = "".join(f"<i>{rng.randrange(10**9)}</i> {rng.randrange(10**9)} " for _ in range(70_000))
    assert read_bounded(replaced(book(tmp_path), "OEBPS/a.xhtml", PAGE.format(body=f"<p>{runs}</p>").encode())) == ""


# JSONL and text files


@pytest.mark.processes
def test_a_gzip_bomb_and_an_endless_line(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl.gz"
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    line = b'{"text": "' + b"a" * 1000 + b'"}\n'
    path.write_bytes(b"".join(packer.compress(line * 1000) for _ in range(150)) + packer.flush())
    assert "zip bomb" in read_bounded(path)
    plain = tmp_path / "l.jsonl"
    plain.write_bytes(b'{"text": "' + b"a" * (100 * MIB))
    assert "has a line (number 1) of more than 8 MiB" in read_bounded(plain)
    path.write_bytes(gzip.compress(line * 100)[:-30])
    assert "truncated or damaged" in read(path)


def test_bad_lines_are_named(tmp_path: Path) -> None:
    good = b'{"text": "One."}\n'
    for bad, says in (
        (b"{nonsense\n", "not valid JSON in line 3"),
        (b"[" * 100_000 + b"\n", "not valid JSON in line 3"),
        (b'{"text": 5}\n', "no story in line 3"),
        (b'{"text": "a", "title": {}}\n', "`title` that is not text in line 3"),
        (b'{"text": "\xff"}\n', "not UTF-8 in line 3"),
    ):
        (tmp_path / "a.jsonl").write_bytes(good + b"\n" + bad + good)
        assert says in read(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_bytes(b"\n\n")
    assert "no line with a story" in read(tmp_path / "a.jsonl")


@pytest.mark.processes
@pytest.mark.parametrize(
    "line",
    [
        "\n" * 8_000_000,
        "a " * 4_000_000,
        "　" * 3_000_000,
        "1, " * 3_000_000 + "x",
        "_a" * 4_000_000,
        "a-\n" * 2_000_000,
        ". " * 4_000_000,
    ],
    ids=["empty lines", "words", "wide spaces", "numbers", "underscores", "hyphens", "dots"],
)
def test_monotonous_texts_take_linear_time(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.txt").write_text(line)
    read_bounded(tmp_path / "a.txt", seconds=20)


def test_files_that_are_too_large_or_not_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"word " * (4 * MIB))
    assert "larger than 16 MiB" in read(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_bytes(os.urandom(50) + bytes(50))
    assert "is not a text" in read(tmp_path / "b.txt")
    (tmp_path / "c.txt").write_bytes(b"\xff\xfea")
    assert "is marked as UTF-16-LE, but is not" in read(tmp_path / "c.txt")
    (tmp_path / "d.txt").write_bytes(b"  \n\n ")
    assert "contains no text" in read(tmp_path / "d.txt")


# Special files


def test_special_files_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    assert "was not opened" in read(tmp_path / "pipe.txt")
    (tmp_path / "device.txt").symlink_to("/dev/zero")
    assert "was not opened" in read(tmp_path / "device.txt")
    (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
    assert "cannot be opened: too many levels of symbolic links" in read(tmp_path / "loop.txt")
    (tmp_path / "folder.epub").mkdir()
    assert "is a folder" in read(tmp_path / "folder.epub")
    assert "cannot be opened: no such file" in read(tmp_path / "none.epub")
    (tmp_path / "empty.epub").touch()
    assert "is empty" in read(tmp_path / "empty.epub")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("secret")
    (tmp_path / "a.txt").chmod(0)
    assert "permission denied" in read(tmp_path / "a.txt")


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.txt").write_text("secret")
    monkeypatch.setattr(os, "open", denied)
    assert read(tmp_path / "a.txt") == "cannot be opened: permission denied."


def test_an_old_word_document(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    assert "an old Word document (.doc) or protected by a password" in read(tmp_path / "a.docx")


# Random changes


def good_docx() -> bytes:
    document = Document()
    document.add_heading("A Title", 1)
    for block in prose(5, 200).split("\n\n"):
        document.add_paragraph(block)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def corrupted(data: bytes, places: list[tuple[float, int]], cut: float) -> bytes:
    changed = bytearray(data)
    for place, value in places:
        changed[int(place * (len(changed) - 1))] = value
    return bytes(changed[: max(1, int(len(changed) * cut))])


CORRUPTIONS = st.tuples(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12),
    st.one_of(st.just(1.0), st.floats(0.01, 1)),
)


@pytest.mark.parametrize("kind", ["epub", "docx"])
def test_no_change_of_a_book_raises_anything_else(tmp_path: Path, kind: str) -> None:
    """Changed bytes of the archive, and of its parts in a valid archive (which a wrong checksum would hide)."""
    data = book(tmp_path).read_bytes() if kind == "epub" else good_docx()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    small = {name: content for name, content in parts.items() if name.endswith((".xml", ".opf", ".xhtml", ".rels"))}
    path = tmp_path / f"x.{kind}"

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(corruption=CORRUPTIONS, name=st.one_of(st.none(), st.sampled_from(sorted(small))))
    def check(corruption: tuple[list[tuple[float, int]], float], name: str | None) -> None:
        if name is None:
            path.write_bytes(corrupted(data, *corruption))
        else:
            path.write_bytes(zipped(parts | {name: corrupted(parts[name], *corruption)}))
        assert "\n" not in read(path)

    check()


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(data=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace"))))
@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".jsonl.gz", ".epub", ".docx"])
def test_no_bytes_raise_anything_else(tmp_path: Path, suffix: str, data: bytes) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data)
    assert "\n" not in read(path)


def test_every_error_continues_after_the_name(tmp_path: Path) -> None:
    makers: list[Callable[[], Path]] = [lambda: tmp_path / "no.epub", lambda: tmp_path]
    for make in makers:
        error = read(make()) if kind_of(make().name) else "is fine."
        assert error[0].islower()
        assert error.endswith(".")
