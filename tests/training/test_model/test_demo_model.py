"""The model that the first run serves: its files, its size, and that it is the model its card says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.training.conftest import ROOT
from training.common.records import Report, Story, Window
from training.common.text import story_request
from training.config.settings import read_settings
from training.test_model.settings import DemoSettings
from training.test_model.tokenizer import Encoder
from training.test_model.windows import measure, premise

DEMO = ROOT / "demo"
MODEL = DEMO / "model"


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in MODEL.rglob("*") if path.is_file()) <= 16_000_000


def test_its_weights_are_bf16_with_a_head_of_their_own() -> None:
    with safe_open(MODEL / "model.safetensors", "pt") as weights:
        names = set(weights.keys())
        assert {"lm_head.weight", "model.embed_tokens.weight"} <= names
        assert {weights.get_tensor(name).dtype for name in names} == {torch.bfloat16}
        assert not torch.equal(weights.get_tensor("lm_head.weight"), weights.get_tensor("model.embed_tokens.weight"))
    config = json.loads((MODEL / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert config["tie_word_embeddings"] is False


def test_both_libraries_read_its_tokenizer_alike() -> None:
    plain, auto = Tokenizer.from_file(str(MODEL / "tokenizer.json")), AutoTokenizer.from_pretrained(MODEL)
    text = "“I don’t know,” said Mr. Vane…\n\nIt was 1887."
    assert plain.encode(text).ids == auto.encode(text)
    assert plain.decode(plain.encode(text).ids) == text
    assert auto.chat_template


def test_it_writes_sentences_and_prefers_english_to_noise() -> None:
    model, encoder = AutoModelForCausalLM.from_pretrained(MODEL), Encoder.load(MODEL)
    request = encoder.request(story_request(title="The Lamp", premise="Anna Vane loses her lamp.", target=600))

    def nats_per_token(text: str) -> float:
        ids = encoder.text(text)
        with torch.no_grad():
            logits = model(torch.tensor([request + ids])).logits[0, len(request) - 1 : -1].float()
        return float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids)))

    english = nats_per_token("The old man looked at her for a long time, and then he went out of the room.")
    assert english < 4.5
    assert english + 2 < nats_per_token("man her The room out looked. time long a for, he at old then and the of went")


def test_its_settings_are_those_in_the_repository() -> None:
    settings = read_settings(DEMO / "demo.toml", DemoSettings)
    config = json.loads((MODEL / "config.json").read_text())
    assert config["hidden_size"] == settings.shape.hidden_size
    assert config["num_hidden_layers"] == settings.shape.layers
    assert config["vocab_size"] == settings.vocabulary


def test_its_card_holds_the_figures_of_the_report() -> None:
    report = Report.model_validate_json((DEMO / "evaluation.json").read_text())
    card = (MODEL / "README.md").read_text()
    assert report.date in card
    for measure_ in report.measures:
        assert f"| {measure_.measure.replace('_', ' ')} |" in card
    assert "This is a demo" in card
    assert (MODEL / "curve.svg").exists()


@pytest.mark.parametrize("text", ["", "One."])
def test_a_premise_is_found_in_any_text(text: str) -> None:
    import random

    story = measure(Story(id="s", author="A", anthology="B", title="T", pd_scope="US", text=text))
    assert premise(story, Window(0, 0, 0, landing=False, seed=1), random.Random(1), 100) == text


def test_nothing_of_a_run_is_kept_beside_it() -> None:
    assert sorted(path.name for path in MODEL.iterdir()) == sorted(
        Path(name).name
        for name in [
            "README.md",
            "chat_template.jinja",
            "config.json",
            "curve.svg",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        ]
    )
