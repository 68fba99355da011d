"""Writing the corpus: completely or not at all, and never over files that are not an earlier corpus."""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from training.common.errors import MendableError
from training.corpus.page import page
from training.corpus.record import Record
from training.corpus.report import MADE_BY, CorpusReport, RejectedStory


def check_out(out: Path, sources: Sequence[Path]) -> None:
    """Check the folder before any work is done. Raises MendableError if it contains a source, or anything but an earlier corpus."""
    try:
        place = out.resolve()
        for source in map(Path.resolve, sources):
            if place == source or source in place.parents or place in source.parents:
                raise MendableError(
                    f"The folder {out} (`out`) and the source {source} are inside each other; choose another folder."
                )
        if not out.exists() and not out.is_symlink():
            return
        if not out.is_dir():
            raise MendableError(f"{out} is a file; name a folder in the setting `out`.")
        if any(out.iterdir()) and not _is_corpus(out):
            raise MendableError(
                f"The folder {out} contains something other than a corpus; name an empty or new one (`out`)."
            )
    except (OSError, RuntimeError) as error:  # resolve() raises RuntimeError for a loop of links
        raise MendableError(f"The folder {out} cannot be used: {getattr(error, 'strerror', '') or error}.") from None


def _is_corpus(out: Path) -> bool:
    try:
        with (out / "report.json").open("rb") as file:
            return bool(json.loads(file.read(64 * 2**20))["made_by"] == MADE_BY)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_corpus(out: Path, kept: Sequence[Record], rejected: Sequence[RejectedStory], report: CorpusReport) -> None:
    """Write the five files next to `out`, then rename the folder. Raises MendableError."""
    out = out.absolute()
    new: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{out.name}.new-", dir=out.parent))
        new.chmod(0o755)
        _write_jsonl(new / "train.jsonl.gz", (record_of(one) for one in kept if not one.held_out))
        _write_jsonl(new / "held_out.jsonl.gz", (record_of(one) for one in kept if one.held_out))
        _write_jsonl(new / "rejected.jsonl.gz", (one.model_dump(exclude_none=True) for one in rejected))
        (new / "report.html").write_text(page(report), "utf-8")
        (new / "report.json").write_text(report.model_dump_json(indent=2) + "\n", "utf-8")
        _replace(new, out)
    except OSError as error:
        raise MendableError(f"The corpus cannot be written to {out}: {error.strerror or error}.") from None
    finally:
        if new is not None:
            shutil.rmtree(new, ignore_errors=True)


def _replace(new: Path, out: Path) -> None:
    """Replace the old corpus when the new one is complete; it is restored if that fails."""
    if not out.exists():
        new.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old-", dir=out.parent))
    try:
        out.rename(old / "corpus")
        try:
            new.rename(out)
        except OSError:
            (old / "corpus").rename(out)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def record_of(record: Record) -> dict[str, Any]:
    """A story as `training.corpus.stories.read_stories` reads it, with its source."""
    story = record.story
    first = {
        "id": record.id,
        "anthology": story.anthology,
        "author": record.author,
        "title": story.title,
        "language": story.language,
        "words": story.words,
        "source": record.source,
    }
    return first | {name: record.facts[name] for name in sorted(record.facts)} | {"text": story.text}


def _write_jsonl(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write gzipped JSONL without a name or a time in the header, so that the same records give the same bytes."""
    with (
        path.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packed,
    ):
        for record in records:
            packed.write(json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
