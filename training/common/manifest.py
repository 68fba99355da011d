"""What a folder of weights holds, file by file, so that a changed byte is noticed before anything loads it.

Weights are safetensors and nothing else: a pickle runs code when it is read, and so does a model's own Python file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from training.common.errors import MendableError

ALLOWED = frozenset({".safetensors", ".json", ".jinja", ".txt", ".md", ".model"})
NAMED = frozenset({"merges.txt", "vocab.json", "tokenizer.model", "LICENSE", "NOTICE", ".gitattributes"})


class File(TypedDict):
    bytes: int
    sha256: str


Manifest = dict[str, File]


def make_manifest(folder: Path, parts: Sequence[str] = ("",)) -> Manifest:
    """The files of some folders below `folder`, those that are there, by their names from it."""
    return {
        path.relative_to(folder).as_posix(): _file(path)
        for part in parts
        for path in sorted((folder / part).rglob("*"))
        if path.is_file()
    }


def sha256_of(manifest: Manifest) -> str:
    """One hash for all of it: of "sha256  name" lines, as `sha256sum` prints them, by name."""
    lines = "".join(f"{manifest[name]['sha256']}  {name}\n" for name in sorted(manifest))
    return hashlib.sha256(lines.encode()).hexdigest()


def verify(folder: Path, manifest: Manifest, parts: Sequence[str] = ("",)) -> None:
    """Raises MendableError, naming the file, unless the folder holds just what the manifest says."""
    wanted = {name for name in manifest if any(not part or name.startswith(f"{part}/") for part in parts)}
    found = {
        path.relative_to(folder).as_posix()
        for part in parts
        for path in (folder / part).rglob("*")
        if path.is_file() or path.is_symlink()
    }
    if found != wanted:
        odd = min(found ^ wanted)
        raise MendableError(
            f"{odd} {'is missing from' if odd in wanted else 'was put into'} {folder} since it was checked."
        )
    for name in sorted(wanted):
        path = folder / name
        if path.is_symlink() or path.stat().st_size != manifest[name]["bytes"] or _file(path) != manifest[name]:
            raise MendableError(f"{name} in {folder} was changed since it was checked.")


def only_weights(folder: Path) -> None:
    """Raises MendableError for what a folder of a model must not hold: pickles, code, links, and a configuration that asks for code."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise MendableError(f"{name} is a link: copy the file itself.")
        if path.is_dir():
            continue
        if not path.is_file():
            raise MendableError(f"{name} is no plain file.")
        if path.suffix not in ALLOWED and path.name not in NAMED:
            raise MendableError(
                f"{name} is not taken: weights are safetensors, and nothing that runs code comes with them."
            )
    if not list(folder.glob("*.safetensors")):
        raise MendableError("There are no weights as safetensors in it.")
    for path in sorted(folder.rglob("*.json")):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            raise MendableError(f"{path.name} is not JSON.") from None
        if isinstance(values, dict) and "auto_map" in values:
            raise MendableError(f"{path.name} asks for code of its own (auto_map): that is not run here.")


def _file(path: Path) -> File:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
