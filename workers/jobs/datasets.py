"""Imports training data from outside the site, such as a corpus: checks every line, copies the files, and makes a `Dataset`.

A folder contains `train.jsonl` and, for evaluation only, `held_out.jsonl`; each may be gzipped. Only the fields that trainings and
stages read are kept.
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction
from pydantic import BaseModel, Field, model_validator

from training.common.errors import MendableError
from training.common.manifest import make_manifest, sha256_of
from training.common.records import Domain
from training.common.tasks import TaskKey
from training.common.text import count_words
from training.datasets import jsonl as lines
from training.datasets.jsonl import MOST_BYTES, Preference, read_jsonl
from workers.folders import datasets, files_of, forget, private
from writer.accounts.audit import record
from writer.refusals import Refused
from writer.stories.text import checked_text
from writer.studio.models import Dataset, DatasetKind


class _Facts(BaseModel):
    """Metadata of a text that stages use. Fields that are not set are not stored."""

    id: str = Field("", max_length=200)
    title: str = Field("", max_length=300)
    author: str = Field("", max_length=300)
    premise: str = Field("", max_length=4000)
    language: str = Field("en", max_length=20)
    task: TaskKey = "write"
    domain: Domain = "fiction"
    group: str = Field("", max_length=300)
    target: int = Field(0, ge=0, le=10**7)
    thinking: str = ""


class Text(lines.Text, _Facts):
    pass


class Conversation(lines.Dialogue, _Facts):
    """A conversation that ends with an answer, or with a request for GRPO."""

    @model_validator(mode="after")
    def asks_or_answers(self) -> Conversation:
        if self.messages[-1].role not in ("user", "assistant"):
            raise ValueError("the last message is neither a request nor an answer")
        return self


Line = Text | Conversation | Preference
LINES: dict[DatasetKind, type[Line]] = {
    DatasetKind.TEXTS: Text,
    DatasetKind.CONVERSATIONS: Conversation,
    DatasetKind.PREFERENCE: Preference,
}


def add_dataset(name: str, folder: Path, *, card: str = "") -> Dataset:
    """Check, copy and add a data set; `card` is its README.md, if a stage made it. Raises Refused or MendableError, which names file and line; then nothing of it remains."""
    name = checked_text(name, "name", most=120, one_line=True, required=True)
    taken = Refused(f"There is a data set {name} already.", field="name")
    if Dataset.objects.filter(name=name).exists():
        raise taken
    train, held_out = _file(folder, "train"), _file(folder, "held_out")
    if train is None:
        raise MendableError(f"There is no train.jsonl in {folder}, plain or gzipped.")
    kind = _kind_of(train)
    fresh = target = Path(tempfile.mkdtemp(prefix=".new-", dir=private(datasets())))
    try:
        rows, words = _copy(train, kind, fresh / "train.jsonl")
        if not rows:
            raise MendableError(f"There is nothing to train on: {train} has no lines.")
        if held_out is not None:
            more_rows, more_words = _copy(held_out, kind, fresh / "held_out.jsonl")
            rows, words = rows + more_rows, words + more_words
        sha256 = sha256_of(make_manifest(fresh))
        with transaction.atomic():
            made = Dataset.objects.create(name=name, kind=kind, rows=rows, words=words, sha256=sha256, card=card)
            made.folder = str(made.pk)
            made.save(update_fields=["folder"])
            record(None, "dataset.add", name, kind=kind, rows=rows, words=words, sha256=sha256)
            target = datasets() / made.folder
            forget(target)  # left by a row that is missing from a restored backup
            fresh.rename(target)
    except BaseException as error:
        forget(fresh)
        forget(target)
        if isinstance(error, IntegrityError):
            raise taken from None
        raise
    return made


def _file(folder: Path, stem: str) -> Path | None:
    found = [path for end in ("jsonl", "jsonl.gz") if (path := folder / f"{stem}.{end}").is_file()]
    if len(found) > 1:
        raise MendableError(f"There are {found[0].name} and {found[1].name} in {folder}: keep one of them.")
    return found[0] if found else None


def _kind_of(path: Path) -> DatasetKind:
    """The kind by the fields of the first line. Otherwise it is read as texts, and `read_jsonl` reports what is wrong."""
    with (
        suppress(OSError, EOFError, zlib.error, ValueError, RecursionError),
        gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file,
    ):
        line = b"\n"
        while line.isspace():
            line = file.readline(MOST_BYTES)
        fields = json.loads(line)
        if isinstance(fields, dict) and "chosen" in fields:
            return DatasetKind.PREFERENCE
        shapes = {
            "messages",
            "completion",
            "conversations",
            "instruction",
            *({"prompt"} if "text" not in fields else ()),
        }
        if isinstance(fields, dict) and fields.keys() & shapes:
            return DatasetKind.CONVERSATIONS
    return DatasetKind.TEXTS


def _copy(path: Path, kind: DatasetKind, target: Path) -> tuple[int, int]:
    """Copy the file line by line; returns the numbers of rows and words."""
    rows = words = 0
    with target.open("wb") as file:
        for _, line in read_jsonl([path], LINES[kind]):
            rows, words = rows + 1, words + _words(line)
            file.write(json.dumps(line.model_dump(exclude_unset=True), ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return rows, words


def lines_of(dataset: Dataset) -> Iterator[tuple[dict[str, Any], bool]]:
    """Each line as JSON, and whether it is held out."""
    for path in files_of(dataset):
        with path.open("rb") as file:
            for raw in file:
                if raw.strip():
                    yield json.loads(raw), is_held_out_file(path)


def is_held_out_file(path: Path) -> bool:
    return path.stem.startswith("held_out")


def _words(line: Line) -> int:
    if isinstance(line, Text):
        return count_words(line.text)
    said = line.messages if isinstance(line, Conversation) else [*line.prompt, *line.chosen, *line.rejected]
    return sum(count_words(one.content) for one in said)
