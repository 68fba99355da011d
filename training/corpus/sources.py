"""Finding source files, and reading each by its kind. Links to folders are not followed; pipes and devices are never opened."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from training.corpus.bounded import SourceError
from training.corpus.drafts import Reading

KINDS = {
    ".epub": "EPUB",
    ".docx": "DOCX",
    ".txt": "text",
    ".text": "text",
    ".jsonl": "JSONL",
    ".ndjson": "JSONL",
    ".jsonl.gz": "JSONL",
    ".ndjson.gz": "JSONL",
}
_HINTS = {
    ".doc": "is an old Word document; save it as .docx.",
    ".rtf": "is a rich text file; save it as .docx.",
    ".odt": "is an OpenDocument text; save it as .docx.",
    ".pdf": "is a PDF, which has no paragraphs; use an EPUB or a text file.",
    ".mobi": "is a Kindle book; convert it to EPUB.",
    ".azw3": "is a Kindle book; convert it to EPUB.",
    ".html": "is a web page; save it as text or EPUB.",
    ".zip": "is a zip archive; unpack it and name the folder.",
}
MAX_FILES = 100_000


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read. `label` names it in the report, relative to the folder in the settings, so that moving the data changes nothing."""

    path: Path
    label: str
    kind: str = ""
    error: str = ""


@dataclass(slots=True)
class Read:
    """The result of reading a source, or the error."""

    reading: Reading = field(default_factory=Reading)
    error: str = ""


def kind_of(name: str) -> str:
    """The kind of a source by the suffix of its name; "" if unknown."""
    name = name.lower()
    return next((kind for suffix, kind in KINDS.items() if name.endswith(suffix)), "")


def find_sources(paths: Sequence[Path]) -> tuple[list[Source], Counter[str]]:
    """The sources in the order of the settings and then of their names, and counts of files of unknown kinds by suffix."""
    found: list[Source] = []
    ignored: Counter[str] = Counter()
    for path in paths:
        if path.is_dir():
            _walk(path, path.resolve().name, found, ignored)
        else:
            kind = kind_of(path.name)
            hint = _HINTS.get(path.suffix.lower(), "is not EPUB, DOCX, text (.txt) or JSONL (.jsonl, .jsonl.gz).")
            found.append(Source(path, path.name, kind, "" if kind else hint))
    labels = Counter(source.label for source in found)
    seen: set[str] = set()
    result = []
    for source in found:
        if labels[source.label] > 1:  # ambiguous: use the whole path
            source = Source(source.path, source.path.as_posix(), source.kind, source.error)
        if source.label not in seen:
            seen.add(source.label)
            result.append(source)
    return result, ignored


def _walk(folder: Path, label: str, found: list[Source], ignored: Counter[str]) -> None:
    try:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
    except OSError as error:
        found.append(
            Source(folder, label, "", f"is a folder that cannot be read: {(error.strerror or 'unknown').lower()}.")
        )
        return
    for entry in entries:
        name = f"{label}/{entry.name}"
        if entry.name.startswith(".") or len(found) >= MAX_FILES:
            continue
        if entry.is_dir(follow_symlinks=False):
            _walk(Path(entry.path), name, found, ignored)
        elif kind := kind_of(entry.name):
            found.append(Source(Path(entry.path), name, kind))
        else:
            ignored[_suffix(entry)] += 1


def _suffix(entry: os.DirEntry[str]) -> str:
    try:
        regular = stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        return "broken links"
    return (Path(entry.name).suffix.lower() or "files without a suffix") if regular else "links, pipes and devices"


def read_source(source: Source) -> Read:
    """Read one source. An error is a sentence that continues after its name."""
    if source.error:
        return Read(error=source.error)
    try:
        return Read(_reader(source.kind)(source.path))
    except SourceError as error:
        return Read(error=str(error))
    except RecursionError:
        return Read(error="nests its parts too deep to be read.")
    except MemoryError:
        return Read(error="needs more memory than is available.")


def _reader(kind: str) -> Callable[[Path], Reading]:
    from training.corpus.readers.docx import read_docx
    from training.corpus.readers.epub import read_epub
    from training.corpus.readers.jsonl import read_jsonl
    from training.corpus.readers.plain import read_text

    return {"EPUB": read_epub, "DOCX": read_docx, "text": read_text, "JSONL": read_jsonl}[kind]
