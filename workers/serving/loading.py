"""How a version comes onto a server: an adapter into one that runs, or whole weights with a server of their own.

Weights are checked against the hashes of the version before anything reads them. vLLM's own routes for adapters are for trusted callers
only; the folder is one of ours, and its server listens on this machine alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from training.common.errors import MendableError
from training.common.manifest import only_weights, verify
from training.evaluate.served import Client, Served, ServerFailed

SECONDS = 120.0
SMOKE = ("The Lamp", "A keeper lights the lamp and somebody knocks.")
SMOKE_WORDS = 40


class CannotLoad(Exception):
    """The version cannot be asked there; the message is for people."""


class NoRoom(CannotLoad):
    """Not now: it is tried again."""


def _headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def served_names(url: str, key: str) -> set[str] | None:
    """What the server serves now; None if it does not answer."""
    try:
        answer = httpx.get(f"{url}/v1/models", headers=_headers(key), timeout=10)
        answer.raise_for_status()
        return {str(entry["id"]) for entry in answer.json()["data"]}
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
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
    answer = _post(url, key, "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
    if answer.status_code != 200 and name not in (served_names(url, key) or ()):
        raise CannotLoad(f"The model server did not take the adapter: {answer.text[:300]}")


def unload_adapter(url: str, key: str, name: str) -> None:
    """What is not there any more is no fault."""
    try:
        _post(url, key, "/v1/unload_lora_adapter", {"lora_name": name})
    except CannotLoad:
        return


def _post(url: str, key: str, path: str, body: dict[str, Any]) -> httpx.Response:
    try:
        return httpx.post(f"{url}{path}", headers=_headers(key), json=body, timeout=SECONDS)
    except httpx.HTTPError as error:
        raise CannotLoad(f"The model server does not answer: {str(error) or type(error).__name__}.") from None


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
