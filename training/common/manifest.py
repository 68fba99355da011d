"""Manifests of model folders: the size and SHA-256 of each file, so that changes are noticed before anything is loaded.

Weights must be safetensors, because a pickle can run code when it is loaded, like a model's own Python files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from training.common.errors import MendableError

ALLOWED_SUFFIXES = frozenset({".safetensors", ".json", ".jinja", ".txt", ".md", ".model"})
ALLOWED_NAMES = frozenset({"merges.txt", "vocab.json", "tokenizer.model", "LICENSE", "NOTICE", ".gitattributes"})


class File(TypedDict):
    bytes: int
    sha256: str


Manifest = dict[str, File]


def make_manifest(folder: Path, parts: Sequence[str] = ("",)) -> Manifest:
    """Return the manifest of the files in `parts`, folders below `folder`, by their relative paths. Parts may be missing."""
    return {
        path.relative_to(folder).as_posix(): _file(path)
        for part in parts
        for path in sorted((folder / part).rglob("*"))
        if path.is_file()
    }


def sha256_of(manifest: Manifest) -> str:
    """Return a hash of the whole manifest: of its "sha256  name" lines, as `sha256sum` prints them, sorted by name."""
    lines = "".join(f"{manifest[name]['sha256']}  {name}\n" for name in sorted(manifest))
    return hashlib.sha256(lines.encode()).hexdigest()


def verify(folder: Path, manifest: Manifest, parts: Sequence[str] = ("",)) -> None:
    """Raise MendableError, naming a file, unless the folder has exactly the files of the manifest."""
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
            f"{odd} was {'removed from' if odd in wanted else 'added to'} {folder} after it was checked."
        )
    for name in sorted(wanted):
        path = folder / name
        if path.is_symlink() or path.stat().st_size != manifest[name]["bytes"] or _file(path) != manifest[name]:
            raise MendableError(f"{name} in {folder} was changed after it was checked.")


def check_model_files(folder: Path) -> None:
    """Raise MendableError if a model's folder has pickles, code, links, a configuration that needs code, or no weights."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise MendableError(f"{name} is a link: copy the file itself.")
        if path.is_dir():
            continue
        if not path.is_file():
            raise MendableError(f"{name} is not a regular file.")
        if path.suffix not in ALLOWED_SUFFIXES and path.name not in ALLOWED_NAMES:
            raise MendableError(
                f"{name} is not accepted: weights must be safetensors, and files that can run code are not allowed."
            )
    if not list(folder.glob("*.safetensors")):
        raise MendableError("The folder has no weights in safetensors.")
    for path in sorted(folder.rglob("*.json")):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            raise MendableError(f"{path.name} is not JSON.") from None
        if isinstance(values, dict) and "auto_map" in values:
            raise MendableError(f"{path.name} needs code of its own (auto_map), which is not run here.")


def _file(path: Path) -> File:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
