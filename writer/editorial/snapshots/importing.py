"""Reads preference data in the format of snapshots: JSONL or Parquet with `prompt`, `chosen`, `rejected`.

Each of them is a text, or a list of messages. The file is not trusted: sizes are checked before unpacking, every text is checked,
and the file is refused with the number of the first invalid row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.common.records import StoredText
from training.common.text import Message
from writer.refusals import Refused

FILE_BYTES, UNPACKED_BYTES, MOST_ROWS = 200_000_000, 1_000_000_000, 100_000
LINE_BYTES = 16_000_000


class Said(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: str = Field(pattern="^(system|user|assistant)$")
    content: StoredText


Messages = Annotated[list[Said], Field(max_length=1000)]


class Line(BaseModel):
    """A row of the file; other columns are ignored."""

    model_config = ConfigDict(extra="ignore")

    prompt: StoredText | Messages
    chosen: StoredText | Messages
    rejected: StoredText | Messages


@dataclass(frozen=True)
class Preference:
    prompt: list[Message]
    chosen: str
    rejected: str


def read_preferences(file: IO[bytes], name: str, size: int) -> list[Preference]:
    """All rows. Raises `Refused` with the number of the first invalid row, and the reason."""
    if size > FILE_BYTES:
        raise Refused(f"The file has {size:,} bytes; the limit is {FILE_BYTES:,}.", field="file")
    lines = _parquet(file) if name.lower().endswith(".parquet") else _jsonl(file)
    found = []
    for number, line in enumerate(lines, 1):
        if number > MOST_ROWS:
            raise Refused(f"The file has more than {MOST_ROWS:,} rows.", field="file")
        found.append(_preference(number, line))
    if not found:
        raise Refused("The file has no rows.", field="file")
    return found


def _jsonl(file: IO[bytes]) -> Iterator[Any]:
    number = 0
    while line := file.readline(LINE_BYTES + 1):
        number += 1
        if len(line) > LINE_BYTES:
            raise Refused(f"Row {number} is longer than the limit of a story.", field="file")
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            raise Refused(f"Row {number} is not JSON.", field="file") from None


def _parquet(file: IO[bytes]) -> Iterator[Any]:
    try:
        table = pq.ParquetFile(file)
        facts = table.metadata
        unpacked = sum(facts.row_group(index).total_byte_size for index in range(facts.num_row_groups))
        if facts.num_rows > MOST_ROWS or unpacked > UNPACKED_BYTES:
            raise Refused(f"The file holds more than {MOST_ROWS:,} rows, or too much text.", field="file")
        missing = {"prompt", "chosen", "rejected"} - set(table.schema_arrow.names)
        if missing:
            raise Refused(f"The file has no column {min(missing)}.", field="file")
        for batch in table.iter_batches(batch_size=100, columns=["prompt", "chosen", "rejected"]):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError):
        raise Refused("The file cannot be read as Parquet.", field="file") from None


def _preference(number: int, line: Any) -> Preference:
    try:
        checked = Line.model_validate(line)
    except ValidationError as error:
        first = error.errors()[0]
        raise Refused(f"Row {number}: {_told(first)}.", field="file") from None
    prompt: list[Message]
    if isinstance(checked.prompt, str):
        prompt = [{"role": "user", "content": checked.prompt}]
    else:
        prompt = [{"role": said.role, "content": said.content} for said in checked.prompt]  # type: ignore[typeddict-item]
    chosen, rejected = _text(number, "chosen", checked.chosen), _text(number, "rejected", checked.rejected)
    if not prompt:
        raise Refused(f"Row {number}: the prompt is empty.", field="file")
    if chosen.split() == rejected.split():
        raise Refused(f"Row {number}: chosen and rejected are the same text.", field="file")
    return Preference(prompt=prompt, chosen=chosen, rejected=rejected)


def _told(error: Any) -> str:
    where = str(error["loc"][0]) if error["loc"] else "the row"
    if error["type"] == "missing":
        return f"there is no {where}"
    if error["type"] == "value_error":
        return f"{where}: {error['ctx']['error']}"
    if not error["loc"]:
        return "it is not an object with prompt, chosen and rejected"
    return f"{where} is neither a text nor a list of messages that can be used"


def _text(number: int, name: str, said: str | list[Said]) -> str:
    if isinstance(said, str):
        text = said
    elif len(said) == 1 and said[0].role == "assistant":
        text = said[0].content
    else:
        raise Refused(f"Row {number}: {name} is not one message of the assistant.", field="file")
    if not text.strip():
        raise Refused(f"Row {number}: {name} is empty.", field="file")
    return text
