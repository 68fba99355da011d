"""The facts of a run, which its checkpoints hold: when it began, and the base model, and the adapter that it continues, by their hashes.

A chat template may write today's date (Llama 3.2's does), so a run encodes its conversations as on the day on which it began, whenever it resumes.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from transformers import PreTrainedTokenizerFast


def beginning_of(folder: Path) -> datetime:
    """When the run in a folder began, by its newest checkpoint, or else by its first event; now for a new run."""
    for manifest in sorted(folder.glob("checkpoints/step-*/manifest.json"), reverse=True):
        with suppress(OSError, ValueError, KeyError, TypeError):
            return datetime.fromisoformat(json.loads(manifest.read_bytes())["began"])
    with suppress(OSError, ValueError, KeyError, TypeError), (folder / "events.jsonl").open("rb") as file:
        return datetime.fromtimestamp(json.loads(file.readline())["time"], UTC).astimezone()
    return datetime.now(UTC).astimezone()


def dated(tokenizer: PreTrainedTokenizerFast, moment: datetime) -> PreTrainedTokenizerFast:
    """Make the tokenizer's chat template take this moment for now. Returns the tokenizer."""
    # A variable of this name stands before the function that transformers gives to templates.
    tokenizer.apply_chat_template = partial(tokenizer.apply_chat_template, strftime_now=moment.strftime)
    return tokenizer


def model_files(folder: Path) -> list[Path]:
    """The configuration and the weights of a model or an adapter, in order."""
    return sorted([*folder.glob("config.json"), *folder.glob("adapter_config.json"), *folder.glob("*.safetensors")])


def model_hash(folder: Path) -> str:
    """SHA-256 over the configuration and the weights of a model's or an adapter's folder."""
    sha = hashlib.sha256()
    for path in model_files(folder):
        with path.open("rb") as file:
            sha.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return sha.hexdigest()
