"""`calls.jsonl` contains every paid question with its answer, for resuming and replaying a stage.

A line is {"key", "asked", "answer", "failed", "tokens_in", "tokens_out", "seconds", "tries", "at"}. `key` is the hash of the question,
without the address, so that a reworded prompt is another question; `answer` is the text, or null. The last line of a key counts.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.common.append_only import whole_lines
from training.common.errors import MendableError


@dataclass(frozen=True, slots=True)
class Kept:
    answer: str | None
    failed: str


def key_of(asked: Mapping[str, Any]) -> str:
    canonical = json.dumps(asked, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


class Calls:
    """Reads only complete lines: one that was cut short by a kill is removed, and its question is asked again."""

    def __init__(self, path: Path) -> None:
        self.kept: dict[str, Kept] = {}
        self.count = self.tokens_in = self.tokens_out = 0
        if path.exists():
            self._read(path)
        self._file = path.open("a", encoding="utf-8")

    def _read(self, path: Path) -> None:
        for raw in whole_lines(path):
            try:
                line = json.loads(raw)
                self.kept[line["key"]] = Kept(line["answer"], line["failed"])
                self.count += 1
                self.tokens_in += line["tokens_in"]
                self.tokens_out += line["tokens_out"]
            except (ValueError, KeyError, TypeError):
                raise MendableError(f"{path} holds a line that is no call: take it out, or the whole file.") from None

    def keep(
        self,
        key: str,
        asked: Mapping[str, Any],
        answer: str | None,
        failed: str,
        tokens: tuple[int, int],
        seconds: float,
        tries: int,
    ) -> None:
        self.kept[key] = Kept(answer, failed)
        self.count += 1
        self.tokens_in += tokens[0]
        self.tokens_out += tokens[1]
        line = {
            "key": key, "asked": asked, "answer": answer, "failed": failed, "tokens_in": tokens[0], "tokens_out": tokens[1],
            "seconds": round(seconds, 3), "tries": tries, "at": round(time.time(), 3),
        }  # fmt: skip
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
