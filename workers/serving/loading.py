"""How a version comes onto a server: an adapter into one that runs, or whole weights with a server of their own.

Weights are checked against the hashes of the version before anything reads them. vLLM's own routes for adapters are for trusted callers
only; the folder is one of ours, and its server listens on this machine alone.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from training.common.errors import MendableError
from training.common.manifest import only_weights, verify
from training.evaluate.served import Client, Served
from training.serving.http import ServerFailed, ask_own, models_of

SECONDS = 120.0
SMOKE = ("The Lamp", "A keeper lights the lamp and somebody knocks.")
SMOKE_WORDS = 40


class CannotLoad(Exception):
    """The version cannot be asked there; the message is for people."""


class NoRoom(CannotLoad):
    """Not now: it is tried again."""


def served_names(url: str, key: str) -> set[str] | None:
    """What the server serves now; None if it does not answer."""
    try:
        return set(models_of(url, key))
    except ServerFailed:
        return None


def check_weights(folder: Path, manifest: dict[str, Any], part: str) -> None:
    try:
        verify(folder, manifest, [part])
        only_weights(folder / part)
    except MendableError as error:
        raise CannotLoad(str(error)) from None


def check_adapter(folder: Path) -> None:
    """Check that its configuration is what our trainings write: LoRA on linear layers, nothing that is fetched or run."""
    try:
        values = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise CannotLoad("The adapter has no configuration.") from None
    if values.get("peft_type") != "LORA" or values.get("auto_mapping") or values.get("modules_to_save"):
        raise CannotLoad("The adapter is of a kind that is not served here.")


def load_adapter(url: str, key: str, name: str, folder: Path) -> None:
    body = {"lora_name": name, "lora_path": str(folder)}
    try:
        ask_own(url, "/v1/load_lora_adapter", key, body, seconds=SECONDS)
    except ServerFailed as error:
        if name not in (served_names(url, key) or ()):
            raise CannotLoad(f"The model server did not take the adapter: {error}.") from None


def unload_adapter(url: str, key: str, name: str) -> None:
    """What is not there any more is no fault."""
    with contextlib.suppress(ServerFailed):
        ask_own(url, "/v1/unload_lora_adapter", key, {"lora_name": name}, seconds=SECONDS)


async def smoke(served: Served) -> str:
    """A few words from the version, as proof that it writes."""
    title, premise = SMOKE
    try:
        async with Client(served) as client:
            context = await client.context()
            written = await client.write(
                title=title, premise=premise, target=SMOKE_WORDS, seed=1, context=context, temperature=0.7
            )
    except ServerFailed as error:
        raise CannotLoad(str(error)) from None
    if written.words < SMOKE_WORDS // 8:
        raise CannotLoad(f"Asked for {SMOKE_WORDS} words it wrote {written.words}.")
    return written.text
