"""Whether the model server can serve a model: checked before it starts, so that a mistake is one sentence and not a traceback of vLLM.

Only small files are read: configuration, tokenizer, chat template, and the heads of the weights' files. No code of a model's folder is run.
"""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable
from concurrent.futures import Future
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from training.common import model_folder
from training.common.errors import MendableError, one_line
from training.common.model_folder import read_object
from training.planning.shapes import positions
from training.serving.process import CannotStart

T = TypeVar("T")
HUB_SECONDS = 10.0
"""The hub's own limits are of each attempt, and know nothing of a name server that does not answer."""
LEAST_CONTEXT = 1024
"""Tokens for the request, the latest part of the story, and an answer."""


class NotServable(CannotStart):
    """The model cannot be served. The message says why, and what to do."""


def check_model(model: str, *, context: int = 0) -> None:
    """Raise NotServable unless vLLM can serve `model`, a folder or a name on the Hugging Face hub, with a context of `context` tokens (0: its own)."""
    from workers.narrator.prompt import Prompter, UnusableModel

    place = Path(model)
    if place.is_dir():
        check_folder(place, context=context)
    elif place.suffix == ".gguf" or place.is_file():
        raise NotServable(f"MODEL={model} is a file. Name a folder with config.json and the weights in safetensors.")
    elif model.startswith(("/", ".", "~")) or model.count("/") > 1:
        raise NotServable(
            f"There is no folder {model}. MODEL names a folder, or a published model such as Qwen/Qwen3.5-9B."
        )
    else:
        try:
            config = _published(model, "config.json")
        except MendableError as error:
            raise NotServable(str(error)) from error
        check_config(model, config, context=context)
    try:
        Prompter(model)
    except UnusableModel as error:
        raise NotServable(f"{_sentence(error)} The model cannot be served: it must follow instructions.") from error
    except Exception as error:  # the tokenizers library raises plain Exception, and a template any error
        raise NotServable(
            f"The tokenizer or the chat template of {model} cannot be read: {_sentence(error)}"
        ) from error


def check_folder(folder: Path, *, context: int = 0) -> None:
    """Raise NotServable unless a folder holds a model for text generation, with all its weights."""
    try:
        config = model_folder.check_folder(folder)
    except MendableError as error:
        raise NotServable(str(error)) from error
    check_config(str(folder), config, context=context)


def check_config(model: str, config: dict[str, Any], *, context: int = 0) -> None:
    """Raise NotServable for an architecture that vLLM does not serve, or a context that is too short or too long."""
    given = config.get("architectures")
    architectures = [str(name) for name in given] if isinstance(given, list) else []
    if not architectures:
        raise NotServable(
            f"The config.json of {model} names no architecture, so vLLM cannot serve it. Download the model again."
        )
    known = known_architectures()
    if known and not known.intersection(architectures):
        scores = architectures[0].endswith(("ForSequenceClassification", "ForTokenClassification", "RewardModel"))
        why = "scores texts and does not write any" if scores else "is not one that this version of vLLM can serve"
        raise NotServable(f"The architecture of {model}, {architectures[0]}, {why}. Choose another model.")
    most = positions(config) or 0
    if most and context > most:
        raise NotServable(
            f"MODEL_CONTEXT is {context:,}, but {model} reads {most:,} tokens at most. Lower it, or leave it out."
        )
    if 0 < (context or most) < LEAST_CONTEXT:
        which = "MODEL_CONTEXT" if context else f"The context of {model}"
        raise NotServable(f"{which} is {context or most:,} tokens; a story needs at least {LEAST_CONTEXT:,}.")


def known_architectures() -> set[str]:
    """The architectures for text generation in the installed vLLM's table, read without importing it. Empty if the table is not found."""
    spec = find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        return set()
    try:
        source = Path(spec.submodule_search_locations[0], "model_executor", "models", "registry.py").read_text("utf-8")
    except OSError:
        return set()
    tables = {"_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS", "_TRANSFORMERS_SUPPORTED_MODELS"}
    found: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and ast.unparse(node.targets[0]) in tables:
            found |= {str(key.value) for key in node.value.keys if isinstance(key, ast.Constant)}
    return found


def _published(model: str, name: str) -> dict[str, Any]:
    """A JSON file of a model on the Hugging Face hub, or of its copy on this machine."""
    try:
        return read_object(Path(within(HUB_SECONDS, lambda: hf_hub_download(model, name))))
    except TimeoutError:
        if not isinstance(cached := try_to_load_from_cache(model, name), str):
            raise NotServable(
                f"{model} is neither a folder nor on this machine already, and the Hugging Face hub does not answer within "
                f"{HUB_SECONDS:g} seconds."
            ) from None
        return read_object(Path(cached))
    except GatedRepoError:
        raise NotServable(
            f"{model} asks for an agreement. Accept it on its page, and set HF_TOKEN, or use another model."
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise NotServable(
            f"There is neither a folder nor a published model {model}. MODEL names a folder, or a model such as Qwen/Qwen3.5-9B."
        ) from None
    except LocalEntryNotFoundError:
        raise NotServable(
            f"{model} is neither a folder nor on this machine already, and the Hugging Face hub cannot be reached."
        ) from None
    except EntryNotFoundError:
        raise NotServable(
            f"The published model {model} has no {name}: it may hold a GGUF file or an adapter only. Choose another one."
        ) from None
    except OSError as error:
        raise NotServable(f"{model} cannot be downloaded: {_sentence(error)}") from error


def within(seconds: float, work: Callable[[], T]) -> T:
    """Return what `work` returns. Raises what it raises, and TimeoutError after so many seconds, when it goes on without anybody waiting."""
    found: Future[T] = Future()

    def run() -> None:
        try:
            found.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            found.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return found.result(seconds)


def _sentence(error: Exception) -> str:
    """The message of an error on one line, shortened, with a full stop."""
    return one_line(error).rstrip(".") + "."
