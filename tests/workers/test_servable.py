"""What cannot be served is refused before the model server starts, in one sentence that says what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import errors

from tests.servers import DEMO_MODEL, ROOT
from training.datasets import sandbox
from workers import servable
from workers.narrator import prompt
from workers.servable import NotServable, check_model

Folder = Path
Spoil = Callable[[Folder], Any]


def _config(**changes: Any) -> Spoil:
    def spoil(folder: Folder) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def _in_parts(*there: int, of: int, index: bool) -> Spoil:
    def spoil(folder: Folder) -> None:
        weights = folder / "model.safetensors"
        names = [f"model-{number:05}-of-{of:05}.safetensors" for number in range(1, of + 1)]
        for number in there:
            shutil.copy(weights, folder / names[number - 1])
        weights.unlink()
        if index:
            (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict(enumerate(names))}))

    return spoil


def _renamed(old: str, new: str) -> Spoil:
    return lambda folder: (folder / old).rename(folder / new)


def _written(name: str, text: str | bytes) -> Spoil:
    return lambda folder: (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def _without(*names: str) -> Spoil:
    def spoil(folder: Folder) -> None:
        for name in names:
            (folder / name).unlink()

    return spoil


def _gguf(folder: Folder) -> None:
    (folder / "config.json").unlink()
    (folder / "model.safetensors").rename(folder / "model.Q4_K_M.gguf")


def _cut(size: int) -> Spoil:
    def spoil(folder: Folder) -> None:
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:size])

    return spoil


CASES: dict[str, tuple[Spoil, str]] = {
    "no folder": (shutil.rmtree, "There is no folder"),
    "an empty folder": (_without(*(path.name for path in DEMO_MODEL.iterdir())), "it has no config.json. Is it the right folder?"),
    "a GGUF file": (_gguf, "It holds a GGUF file"),
    "GGUF weights beside a config": (_renamed("model.safetensors", "model.gguf"), "There are no weights"),
    "an adapter": (_written("adapter_config.json", '{"base_model_name_or_path": "Qwen/Qwen3-4B"}'), "Serve Qwen/Qwen3-4B, or merge the adapter"),
    "an adapter of no base": (_written("adapter_config.json", "{}"), "Serve its base model, or merge the adapter"),
    "config.json is not JSON": (_written("config.json", "{"), "cannot be read as JSON"),
    "config.json is a list": (_written("config.json", "[]"), "cannot be read as JSON"),
    "no architecture": (_config(architectures=None), "names no architecture"),
    "an unknown architecture": (_config(architectures=["LonghandForCausalLM"]), "LonghandForCausalLM, is not one that this version of vLLM can serve"),
    "a reward model": (_config(architectures=["Qwen3ForSequenceClassification"]), "scores texts and does not write any"),
    "an encoder": (_config(architectures=["BertModel"]), "is not one that this version of vLLM can serve"),
    "a short context": (_config(max_position_embeddings=512), "512 tokens; a story needs at least 1,024"),
    "a short context in a wrapper": (_config(text_config={"max_position_embeddings": 512}), "512 tokens; a story needs at least 1,024"),
    "no weights": (_without("model.safetensors"), "There are no weights"),
    "a pickle": (_renamed("model.safetensors", "pytorch_model.bin"), "are a pickle"),
    "a part is missing": (_in_parts(1, of=2, index=True), "1 of the 2 parts of the weights are missing"),
    "all parts are missing": (_in_parts(of=3, index=True), "3 of the 3 parts of the weights are missing"),
    "parts without an index": (_in_parts(1, 3, of=4, index=False), "2 of the 4 parts of the weights are missing"),
    "half a download": (_cut(1_000_000), "is incomplete or not a safetensors file"),
    "a head cut off": (_cut(100), "is incomplete or not a safetensors file"),
    "a pointer of Git LFS": (_written("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"), "is incomplete or not a safetensors file"),
    "no tokenizer": (_without("tokenizer.json"), "has no tokenizer.json. The model cannot be served"),
    "a broken tokenizer": (_written("tokenizer.json", "{}"), "The tokenizer or the chat template"),
    "no chat template": (_without("chat_template.jinja"), "has no chat template. The model cannot be served: it must follow instructions"),
    "a broken chat template": (_written("chat_template.jinja", "{% for %}"), "The tokenizer or the chat template"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO_MODEL, tmp_path / "model"))


@pytest.mark.parametrize("case", CASES)
def test_a_folder_is_refused_in_one_sentence_or_two(case: str, folder: Path) -> None:
    check_model(str(folder))
    spoil, says = CASES[case]
    spoil(folder)
    with pytest.raises(NotServable) as refused:
        check_model(str(folder))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_weights_in_parts_are_served(folder: Path) -> None:
    _in_parts(1, 2, of=2, index=True)(folder)
    check_model(str(folder))


def test_the_context_asked_for_fits_the_model() -> None:
    check_model(str(DEMO_MODEL), context=2048)
    with pytest.raises(NotServable, match=r"MODEL_CONTEXT is 4,096, but .* reads 2,048 tokens at most"):
        check_model(str(DEMO_MODEL), context=4096)
    with pytest.raises(NotServable, match="MODEL_CONTEXT is 600 tokens"):
        check_model(str(DEMO_MODEL), context=600)


def test_a_file_is_no_folder(folder: Path) -> None:
    for name in (str(folder / "model.safetensors"), "models/mine.gguf"):
        with pytest.raises(NotServable, match=r"is a file\. Name a folder"):
            check_model(name)


def _response() -> Any:
    import httpx

    return httpx.Response(404, request=httpx.Request("GET", "https://hub.example"))


PUBLISHED: dict[str, tuple[Callable[[], Exception], str]] = {
    "unknown": (lambda: errors.RepositoryNotFoundError("no", response=_response()), "neither a folder nor a published model someone/nothing"),
    "gated": (lambda: errors.GatedRepoError("no", response=_response()), "someone/nothing asks for an agreement"),
    "no config.json": (lambda: errors.EntryNotFoundError("no"), "someone/nothing has no config.json"),
    "no network": (lambda: errors.LocalEntryNotFoundError("no"), "the Hugging Face hub cannot be reached"),
    "an odd name": (lambda: errors.HFValidationError("no"), "neither a folder nor a published model"),
    "a full disk": (lambda: OSError(28, "No space left on device"), "cannot be downloaded: .*No space left on device"),
}  # fmt: skip


@pytest.mark.parametrize("case", PUBLISHED)
def test_a_published_name_is_refused_too(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error, says = PUBLISHED[case]

    def download(*_: str) -> str:
        raise error()

    monkeypatch.setattr(servable, "hf_hub_download", download)
    with pytest.raises(NotServable, match=says):
        check_model("someone/nothing")


@pytest.fixture
def silent_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A hub that takes requests and does not answer, and what of it is on this machine already."""
    gone = threading.Event()

    def download(*_: str) -> str:
        gone.wait(60)
        raise OSError

    def cached(model: str, name: str) -> str | None:
        return str(tmp_path / name) if model == "some/one" and (tmp_path / name).exists() else None

    monkeypatch.setattr(servable, "HUB_SECONDS", 0.2)
    for module in (servable, prompt):
        monkeypatch.setattr(module, "hf_hub_download", download)
        monkeypatch.setattr(module, "try_to_load_from_cache", cached)
    yield tmp_path
    gone.set()


def test_a_hub_that_does_not_answer_is_said_soon(silent_hub: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(NotServable, match="the Hugging Face hub does not answer within"):
        check_model("someone/nothing")
    shutil.copytree(DEMO_MODEL, silent_hub, dirs_exist_ok=True)
    check_model("some/one")  # is on this machine
    assert time.monotonic() - begin < 20


def test_a_chat_template_without_end_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 0.3)
    for template, says in (
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "it has not ended after 0.3 seconds"),
        ("{% for a in range(10**9) %}{% endfor %}", "Range too big"),
        ("{{ messages[0].content + 1 }}", "template fails"),
    ):  # fmt: skip
        (folder / "chat_template.jinja").write_text(template)
        with pytest.raises(NotServable, match=says):
            check_model(str(folder))


def test_the_table_of_vllm_is_found() -> None:
    known = servable.known_architectures()
    assert {"LlamaForCausalLM", "Qwen3ForCausalLM", "Qwen3_5ForConditionalGeneration", "GptOssForCausalLM"} <= known
    assert "LlamaForSequenceClassification" not in known


@pytest.mark.processes
def test_make_run_ends_with_the_sentence(tmp_path: Path, folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    env = os.environ | {"VAR": str(tmp_path / "var"), "PORT": "0", "MODEL": str(folder)}
    done = subprocess.run(
        [sys.executable, "manage.py", "up"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "has no chat template. The model cannot be served" in done.stderr
    assert "Traceback" not in done.stderr
