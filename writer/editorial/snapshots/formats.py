"""Writes a snapshot as files: TRL's conversational preference format (or prompts only), a card, and the origin of each row.

`train.jsonl` and `train.parquet` contain `prompt`, `chosen` and `rejected`, each a list of messages, or only `prompt`. They do not
contain tombstones. `origin.jsonl` has a line for every row, including tombstones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from training.common.text import Message
from writer.editorial.messages import completion_messages
from writer.editorial.models import Snapshot, SnapshotKind, SnapshotRow
from writer.editorial.snapshots.passages import passage_messages

AT_ONCE = 200
"""Rows read at once: a row may be two stories of 12,000 words."""
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

Example = dict[str, list[Message]]


def columns(snapshot: Snapshot) -> tuple[str, ...]:
    return ("prompt",) if snapshot.kind == SnapshotKind.PROMPTS else ("prompt", "chosen", "rejected")


def example_of(row: SnapshotRow) -> Example:
    """The example of a row. Its texts must be loaded."""
    assert row.brief is not None
    if row.chosen is None:
        return {"prompt": row.brief.messages}
    if row.passage is not None:
        prompt, chosen, rejected = passage_messages(row.brief, row.chosen.text, row.passage)
        return {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    assert row.rejected is not None
    return {
        "prompt": row.brief.messages,
        "chosen": completion_messages(row.chosen.text),
        "rejected": completion_messages(row.rejected.text),
    }


def examples(snapshot: Snapshot) -> Iterator[list[Example]]:
    """The examples of the rows, in batches and in order, without tombstones."""
    rows = (
        SnapshotRow.objects.filter(snapshot=snapshot, gone=None)
        .select_related("brief", "chosen", "rejected")
        .defer("origin", "chosen__origins", "rejected__origins")
        .order_by("index")
    )
    last = -1
    while part := list(rows.filter(index__gt=last)[:AT_ONCE]):
        yield [example_of(row) for row in part]
        last = part[-1].index


def write_jsonl(snapshot: Snapshot, out: IO[bytes]) -> None:
    for part in examples(snapshot):
        out.write("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in part).encode())


def write_parquet(snapshot: Snapshot, out: IO[bytes]) -> None:
    schema = pa.schema([(name, _MESSAGES) for name in columns(snapshot)])
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for part in examples(snapshot):
            writer.write_table(pa.Table.from_pylist(part, schema=schema))


def write_origin(snapshot: Snapshot, out: IO[bytes]) -> None:
    """A line for each row: `row`, `line` of train.jsonl (null for a tombstone), `sha256`, `label`, and its origin."""
    line = 0
    for row in SnapshotRow.objects.filter(snapshot=snapshot).order_by("index").iterator(chunk_size=5000):
        gone = row.gone.isoformat() if row.gone else None
        said = {
            "row": row.index,
            "line": None if gone else line,
            "sha256": row.sha256,
            "label": row.label,
            "gone": gone,
        }
        out.write((json.dumps(said | row.origin, ensure_ascii=False) + "\n").encode())
        line += gone is None


CARD = """---
pretty_name: Longhand snapshot {number}
language: [en]
tags: [longhand, {kind}]
configs:
- config_name: default
  data_files:
  - split: train
    path: train.parquet
---

# Longhand snapshot {number}

{described}

Made on {created:%Y-%m-%d %H:%M} UTC. {rows} rows; {gone} of them are tombstones by now: their writers took back what they had
allowed, so the words are gone and only the hash is left.

| rows | from |
| ---: | --- |
{sources}

| left out | why |
| ---: | --- |
{left_out}

The columns are lists of messages (`role`, `content`), as TRL's conversational formats have them: {columns}. `origin.jsonl` says
of each row which votes, marks, violations, editors and versions of principles it rests on, and how sure it is (`label`, from 0.5 to 1).

A row's hash is the SHA-256 of the hashes of its columns, a line each; a column's hash is the SHA-256 of its messages as JSON
(UTF-8, keys sorted, no blanks, no escapes). The hash of the snapshot is the SHA-256 of the hashes of its rows, a line each,
tombstones included: `{sha256}`.

The texts belong to their writers, who allowed this site to train models with them. They are not for publication.
"""


def write_card(snapshot: Snapshot, out: IO[bytes]) -> None:
    """README.md in Hugging Face's format, with the contents of the snapshot and the reasons of omissions."""

    def table(counts: dict[str, int]) -> str:
        return "\n".join(f"| {number:,} | {name} |" for name, number in sorted(counts.items()))

    said = CARD.format(
        **{name: getattr(snapshot, name) for name in ("number", "kind", "described", "created", "rows", "sha256")},
        gone=SnapshotRow.objects.filter(snapshot=snapshot).exclude(gone=None).count(),
        sources=table(snapshot.counts["sources"]),
        left_out=table(snapshot.counts["left_out"]),
        columns=", ".join(f"`{name}`" for name in columns(snapshot)),
    )
    out.write(said.encode())


FILES = {
    "train.jsonl": ("application/jsonl; charset=utf-8", write_jsonl),
    "train.parquet": ("application/vnd.apache.parquet", write_parquet),
    "origin.jsonl": ("application/jsonl; charset=utf-8", write_origin),
    "README.md": ("text/markdown; charset=utf-8", write_card),
}


def written(snapshot: Snapshot, name: str) -> IO[Any]:
    """One of FILES in a temporary file, at its beginning. The caller closes it."""
    file = TemporaryFile()  # noqa: SIM115
    FILES[name][1](snapshot, file)
    file.seek(0)
    return file
