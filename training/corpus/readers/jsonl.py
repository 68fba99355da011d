"""Reading JSONL files, gzipped or not: records of this project, or objects with a `text` and optional further fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.corpus.bounded import SourceError, source_lines
from training.corpus.drafts import Draft, Reading

KEPT = ("pd_scope", "license", "translators", "contributors", "year", "source_repo", "commit")


def read_jsonl(path: Path) -> Reading:
    """The stories of a file. A single invalid line makes the file an error, since more may be wrong with it."""
    reading = Reading()
    for number, line in enumerate(source_lines(path), 1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.strip():
            reading.drafts.append(_draft(line, number))
    if not reading.drafts:
        raise SourceError("has no line with a story.")
    return reading


def _draft(line: bytes, number: int) -> Draft:
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError:
        raise SourceError(f"is not UTF-8 in line {number}; save it as UTF-8.") from None
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "") or "it nests too deep"
        raise SourceError(f"is not valid JSON in line {number} ({reason[:100]}); correct or remove the line.") from None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise SourceError(f"has no story in line {number}: it must be an object with a `text`.")
    try:
        record["text"].encode()
    except UnicodeEncodeError:
        record["text"] = record["text"].encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    values = {name: _line(record, name, number) for name in ("title", "author", "anthology", "language", "id")}
    return Draft(text=record["text"], facts={name: _fact(record[name]) for name in KEPT if record.get(name)}, **values)


def _line(record: dict[str, Any], name: str, number: int) -> str:
    value = record.get(name)
    if value is None:
        return ""
    if not isinstance(value, str | int):
        raise SourceError(f"has a `{name}` that is not text in line {number}.")
    return " ".join(str(value).encode("utf-8", "replace").decode().split())[:300]


def _fact(value: Any) -> Any:
    """A fact about the source, shortened, since it is kept with each story."""
    if isinstance(value, list):
        return [str(item).encode("utf-8", "replace").decode()[:200] for item in value[:50]]
    return value if isinstance(value, int) else str(value).encode("utf-8", "replace").decode()[:400]
