"""Books of all kinds for tests, valid and invalid."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Mapping
from pathlib import Path

from tests.training.conftest import CORPUS

ANTHOLOGIES = CORPUS.parent / "anthologies"
OTHER = CORPUS.parent / "stories_other.jsonl.gz"
CONTAINER = (
    "<?xml version='1.0'?><container xmlns='urn:oasis:names:tc:opendocument:xmlns:container' version='1.0'><rootfiles>"
    "<rootfile full-path='{opf}' media-type='application/oebps-package+xml'/></rootfiles></container>"
)
PAGE = (
    "<?xml version='1.0' encoding='utf-8'?><html xmlns='http://www.w3.org/1999/xhtml' xmlns:epub='http://www.idpf.org/2007/ops'>"
    "<head><title>page</title></head><body>{body}</body></html>"
)
_NOUNS = [
    "lamp",
    "river",
    "house",
    "letter",
    "door",
    "garden",
    "winter",
    "horse",
    "window",
    "bread",
    "soldier",
    "mother",
    "street",
    "clock",
    "boat",
    "teacher",
    "fire",
]
_VERBS = [
    "waited",
    "turned",
    "laughed",
    "wept",
    "stood",
    "listened",
    "called",
    "slept",
    "worked",
    "walked",
    "sang",
    "wondered",
    "stopped",
    "looked",
    "answered",
]
_SHORT = [
    "He said nothing.",
    "She looked up at him.",
    "It was late, and they knew it.",
    "Nobody had asked her.",
    "That was all.",
]


def prose(seed: int | str, words: int = 600) -> str:
    """Generated paragraphs that pass as a story; those of different seeds are not similar."""
    rng = random.Random(seed)
    made = [
        "".join(rng.choices("bcdfglmnprst", k=1) + rng.choices("aeiou", k=1) + rng.choices("lmnrst", k=1))
        for _ in range(60)
    ]
    blocks: list[str] = []
    count = 0
    while count < words:
        sentences = []
        for _ in range(rng.randrange(3, 6)):
            noun, other, verb = rng.choice(_NOUNS), rng.choice(made), rng.choice(_VERBS)
            sentences.append(
                rng.choice(
                    [
                        f"The {noun} of the {other} was old, and when {rng.choice(made)} had gone, he {verb} by the {rng.choice(made)}.",
                        f"“I was there with {rng.choice(made).capitalize()},” she said, “and the {other} {verb} in the {noun}.”",
                        f"In the {noun} they {verb} until the {other} came back with a {rng.choice(made)} {rng.choice(_NOUNS)}.",
                        rng.choice(_SHORT),
                    ]
                )
            )
        blocks.append(" ".join(sentences))
        count += len(blocks[-1].split())
    return "\n\n".join(blocks)


def paragraphs(text: str) -> str:
    return "".join(f"<p>{block}</p>" for block in text.split("\n\n"))


def epub(
    path: Path,
    pages: Mapping[str, str],
    *,
    metadata: str = "<dc:title>A Book</dc:title><dc:creator>Ann Author</dc:creator><dc:language>en</dc:language>",
    nav: str = "",
    ncx: str = "",
    parts: Mapping[str, bytes] | None = None,
) -> Path:
    """Write an EPUB with these page bodies, in order; `nav` and `ncx` are the content of the table of contents."""
    items = "".join(
        f"<item id='p{n}' href='{name}' media-type='application/xhtml+xml'/>" for n, name in enumerate(pages)
    )
    spine = "".join(f"<itemref idref='p{n}'/>" for n in range(len(pages)))
    toc = ""
    files: dict[str, bytes] = {"META-INF/container.xml": CONTAINER.format(opf="OEBPS/book.opf").encode()}
    if nav:
        items += "<item id='nav' href='nav.xhtml' properties='nav' media-type='application/xhtml+xml'/>"
        files["OEBPS/nav.xhtml"] = PAGE.format(body=f"<nav epub:type='toc'><ol>{nav}</ol></nav>").encode()
    if ncx:
        items += "<item id='ncx' href='toc.ncx' media-type='application/x-dtbncx+xml'/>"
        toc = " toc='ncx'"
        files["OEBPS/toc.ncx"] = (
            f"<ncx xmlns='http://www.daisy.org/z3986/2005/ncx/'><navMap>{ncx}</navMap></ncx>".encode()
        )
    files["OEBPS/book.opf"] = (
        "<package xmlns='http://www.idpf.org/2007/opf' version='3.0'>"
        f"<metadata xmlns:dc='http://purl.org/dc/elements/1.1/' xmlns:opf='http://www.idpf.org/2007/opf'>{metadata}</metadata>"
        f"<manifest>{items}</manifest><spine{toc}>{spine}</spine></package>"
    ).encode()
    for name, body in pages.items():
        files.setdefault(
            f"OEBPS/{name}", (body if body.lstrip().startswith("<?xml") else PAGE.format(body=body)).encode()
        )
    files |= parts or {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def zipped(parts: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return file.getvalue()
