"""A folder of weights is what it was when it was checked, and holds nothing that runs."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from training.common.errors import MendableError
from training.common.manifest import make_manifest, only_weights, sha256_of, verify


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights" * 100)
    (tmp_path / "model" / "config.json").write_text('{"model_type": "qwen3"}')
    (tmp_path / "events.jsonl").write_text("not a part of it")
    return tmp_path


def test_it_says_what_sha256sum_says(folder: Path) -> None:
    manifest = make_manifest(folder, ["model", "adapter"])
    assert list(manifest) == ["model/config.json", "model/model.safetensors"]
    expected = hashlib.sha256(b"weights" * 100).hexdigest()
    assert manifest["model/model.safetensors"] == {"bytes": 700, "sha256": expected}
    lines = "".join(f"{manifest[name]['sha256']}  {name}\n" for name in sorted(manifest))
    assert sha256_of(manifest) == hashlib.sha256(lines.encode()).hexdigest()
    verify(folder, manifest, ["model"])


def test_one_byte(folder: Path) -> None:
    manifest = make_manifest(folder, ["model"])
    path = folder / "model" / "model.safetensors"
    path.write_bytes(b"Weights" + path.read_bytes()[7:])
    with pytest.raises(MendableError, match=r"model\.safetensors .* was changed"):
        verify(folder, manifest, ["model"])


def test_a_file_more_a_file_less_and_a_link(folder: Path) -> None:
    manifest = make_manifest(folder, ["model"])
    (folder / "model" / "modeling.py").write_text("print()")
    with pytest.raises(MendableError, match=r"modeling\.py was put into"):
        verify(folder, manifest, ["model"])
    (folder / "model" / "modeling.py").unlink()
    path = folder / "model" / "config.json"
    path.rename(folder / "elsewhere.json")
    with pytest.raises(MendableError, match="is missing"):
        verify(folder, manifest, ["model"])
    os.symlink(folder / "elsewhere.json", path)
    with pytest.raises(MendableError, match="was changed"):
        verify(folder, manifest, ["model"])


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "weights.pkl", "modeling_own.py", "run.sh", "model.ckpt", "lib.so"]
)
def test_pickles_and_code_are_refused(folder: Path, name: str) -> None:
    only_weights(folder / "model")
    (folder / "model" / name).write_bytes(b"\x80\x04")
    with pytest.raises(MendableError, match="is not taken"):
        only_weights(folder / "model")


def test_a_configuration_that_asks_for_code(folder: Path) -> None:
    (folder / "model" / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "modeling_own.Own"}}))
    with pytest.raises(MendableError, match="auto_map"):
        only_weights(folder / "model")
    (folder / "model" / "config.json").write_text("{")
    with pytest.raises(MendableError, match="not JSON"):
        only_weights(folder / "model")
    (folder / "model" / "config.json").write_text('{"a":' * 100_000)
    with pytest.raises(MendableError, match="not JSON"):
        only_weights(folder / "model")


def test_code_further_down(folder: Path) -> None:
    (folder / "model" / "part").mkdir()
    (folder / "model" / "part" / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "modeling_own.Own"}}))
    with pytest.raises(MendableError, match="auto_map"):
        only_weights(folder / "model")


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "model" / "vocab.json")
    with pytest.raises(MendableError, match="no plain file"):
        only_weights(folder / "model")


def test_no_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(MendableError, match="no weights"):
        only_weights(tmp_path)
