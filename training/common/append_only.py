"""Append-only files of lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def whole_lines(path: Path) -> Iterator[bytes]:
    """Yield the complete lines of a file. An incomplete last line, from a process that was killed, is removed from the file."""
    whole = 0
    with path.open("r+b") as lines:
        for raw in lines:
            if not raw.endswith(b"\n"):
                lines.truncate(whole)
                return
            whole += len(raw)
            yield raw
