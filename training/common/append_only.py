"""Files that are only appended to, a line at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def whole_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file; the last one, if a kill cut it short, is taken out of it."""
    whole = 0
    with path.open("r+b") as lines:
        for raw in lines:
            if not raw.endswith(b"\n"):
                lines.truncate(whole)
                return
            whole += len(raw)
            yield raw
