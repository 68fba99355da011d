"""Reading the corpus of stories, and holding out whole authors."""

from __future__ import annotations

import gzip
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from training.common.errors import MendableError
from training.common.records import Story


class Split(NamedTuple):
    train: list[Story]
    held_out: list[Story]


def read_stories(path: Path, pd_scope: str | None = None) -> list[Story]:
    """Read the stories of a JSONL file, gzipped or not, with the public-domain scope `pd_scope`, or all. Raises MendableError."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with (gzip.open if packed else open)(path, "rt", encoding="utf-8") as lines:
            stories = [Story.model_validate_json(line) for line in lines if line.strip()]
    except FileNotFoundError:
        raise MendableError(f"The corpus {path} does not exist; name the file in the setting `corpus`.") from None
    except (OSError, EOFError, UnicodeDecodeError, ValidationError) as error:
        reason = str(error).partition("\n")[0]
        raise MendableError(
            f"The corpus {path} is not a gzipped JSONL file of stories, nor a plain one: {reason}."
        ) from None
    chosen = [story for story in stories if pd_scope is None or story.pd_scope == pd_scope]
    if not chosen:
        none = "no story" if pd_scope is None else f"no story with pd_scope {pd_scope!r}"
        raise MendableError(f"The corpus {path} has {none}.")
    return chosen


def split_by_author(stories: list[Story], held_out_authors: Collection[str]) -> Split:
    """Hold out whole authors, since a held-out story by a known author would measure memorisation. Raises MendableError."""
    unknown = set(held_out_authors) - {story.author for story in stories}
    if unknown:
        raise MendableError(f"No story of the corpus is by {', '.join(sorted(unknown))} (held_out_authors).")
    split = Split([], [])
    for story in stories:
        split[story.author in held_out_authors].append(story)
    if not split.train:
        raise MendableError("held_out_authors leaves no story to train on.")
    return split
