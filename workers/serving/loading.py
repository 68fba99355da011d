"""Loads versions: an adapter into a running server, or complete weights with their own server.

Weights are checked against the hashes of the version before they are read. vLLM's routes for adapters are for trusted callers only;
the folder is one of this site, and the server listens only on this machine.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from training.common.errors import MendableError
from training.common.manifest import check_model_files, verify
from training.evaluate.served import Client, Served
from training.serving.http import ServerFailed, ask_own, models_of

SECONDS = 120.0
SMOKE = ("The Lamp", "A keeper lights the lamp and somebody knocks.")
SMOKE_WORDS = 40
PROBE = {"prompt": SMOKE[1], "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
"""A text whose log-probabilities must differ with and without an adapter."""


class CannotLoad(Exception):
    """The version cannot be loaded. The message is shown to people."""


class NoRoom(CannotLoad):
    """There is no free GPU now; loading is tried again."""


def served_names(url: str, key: str) -> set[str] | None:
    """The names of the models that the server serves now; None if it does not answer."""
    try:
        return set(models_of(url, key))
    except ServerFailed:
        return None


def check_weights(folder: Path, manifest: dict[str, Any], part: str) -> None:
    try:
        verify(folder, manifest, [part])
        check_model_files(folder / part)
    except MendableError as error:
        raise CannotLoad(str(error)) from None


def check_adapter(folder: Path) -> None:
    """Check that the adapter is as our trainings write it: LoRA on linear layers, without downloads or code. Raises CannotLoad."""
    try:
        values = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise CannotLoad("The adapter has no configuration.") from None
    if values.get("peft_type") != "LORA" or values.get("auto_mapping") or values.get("modules_to_save"):
        raise CannotLoad("The adapter is of a kind that this site does not serve.")


def adapter_rank(folder: Path) -> int:
    """The rank of an adapter; 0 if it cannot be read, which `check_adapter` reports."""
    try:
        return int(json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["r"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def load_adapter(url: str, key: str, name: str, folder: Path) -> None:
    body = {"lora_name": name, "lora_path": str(folder)}
    try:
        ask_own(url, "/v1/load_lora_adapter", key, body, seconds=SECONDS)
    except ServerFailed as error:
        if name not in (served_names(url, key) or ()):
            raise CannotLoad(f"The model server did not load the adapter: {error}.") from None


def check_applied(url: str, key: str, name: str, base: str) -> None:
    """Unload an adapter that does not change what the model `base` computes, and raise CannotLoad."""
    if changes_nothing(url, key, name, base):
        unload_adapter(url, key, name)
        raise CannotLoad(
            "The adapter changes nothing on the model server: its weights have other names than the modules of the model there, or it learned nothing."
        )


def changes_nothing(url: str, key: str, name: str, base: str) -> bool:
    """Whether the server gives a fixed text the same log-probabilities with an adapter as without it. False if it does not answer."""
    try:
        found = [ask_own(url, "/v1/completions", key, PROBE | {"model": one}, seconds=SECONDS) for one in (name, base)]
        with_adapter, without = (one.json()["choices"][0]["prompt_logprobs"] for one in found)
    except (ServerFailed, ValueError, KeyError, IndexError, TypeError):
        return False
    return bool(with_adapter == without)


def unload_adapter(url: str, key: str, name: str) -> None:
    """Unload the adapter. It is no error if it is not loaded."""
    with contextlib.suppress(ServerFailed):
        ask_own(url, "/v1/unload_lora_adapter", key, {"lora_name": name}, seconds=SECONDS)


async def smoke(served: Served) -> str:
    """Ask the version for a few words, as a smoke test. Raises CannotLoad if it writes too few."""
    title, premise = SMOKE
    try:
        async with Client(served) as client:
            context = await client.context()
            written = await client.write(title=title, premise=premise, target=SMOKE_WORDS, seed=1, context=context)
    except ServerFailed as error:
        raise CannotLoad(str(error)) from None
    if written.words < SMOKE_WORDS // 8:
        raise CannotLoad(f"Asked for {SMOKE_WORDS} words, it wrote {written.words}.")
    return written.text
