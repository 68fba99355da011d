"""A folder that holds no whole model is refused in the same sentence by everything that reads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training import models
from training.common.errors import MendableError
from training.config.learner import LearnerSettings
from training.learner.models import load_model, load_tokenizer
from workers.servable import NotServable, check_model


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save(models.random_model("llama"), tmp_path_factory.mktemp("whole") / "model")


def moved(old: str, new: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / old).rename(folder / new)


def written(name: str, text: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(text)


def index(folder: Path) -> None:
    moved("model.safetensors", "model-00001-of-00002.safetensors")(folder)
    names = {str(number): f"model-0000{number}-of-00002.safetensors" for number in (1, 2)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


CASES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "it has no config.json. Is it the right folder?"),
    "cut off": (written("config.json", "{"), "config.json is not JSON: "),
    "deep": (written("config.json", "[" * 100_000), "config.json is not JSON: "),
    "a list": (written("config.json", "[]"), "is not a model's configuration"),
    "GGUF": (moved("model.safetensors", "model.gguf"), "It holds a GGUF file; use the model's folder with"),
    "a pickle": (moved("model.safetensors", "model.pt"), "are a pickle (model.pt), which can run code"),
    "an adapter beside": (written("adapter_config.json", '{"base_model_name_or_path": "some/base"}'), "Serve some/base, or merge"),
    "a part": (moved("model.safetensors", "model-00002-of-00003.safetensors"), "2 of the 3 parts of the weights are missing"),
    "an index": (index, "1 of the 2 parts of the weights are missing"),
    "a pointer": (written("model.safetensors", "version https://git-lfs.github.com/spec/v1"), "model.safetensors is incomplete or not"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_training_and_serving_say_the_same(case: str, whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "model"))
    spoil, says = CASES[case]
    spoil(folder)
    said = []
    for check in (
        lambda: load_model(folder, LearnerSettings(precision="float32")),
        lambda: check_model(str(folder)),
    ):
        with pytest.raises((MendableError, NotServable)) as refused:
            check()
        said.append(str(refused.value))
    assert said[0] == said[1]
    assert says in said[0]
    assert "\n" not in said[0]


def test_an_adapter_alone_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    for check in (lambda: load_tokenizer(tmp_path), lambda: check_model(str(tmp_path))):
        with pytest.raises(
            (MendableError, NotServable), match=r"and not a whole model\. Serve its base model, or merge"
        ):
            check()
