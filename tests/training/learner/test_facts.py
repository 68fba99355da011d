"""A run keeps what it was: the day on which it began, its base model, its data."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from transformers.utils import chat_template_utils

from tests.training.recipes.runs import RECIPES, make_settings, max_difference
from training.common.errors import MendableError
from training.datasets.encoding import ChatEncoder
from training.datasets.jsonl import ChatMessage
from training.learner.facts import beginning_of, dated, model_hash
from training.learner.models import load_tokenizer

DATED = (
    "<|im_start|>system\nToday Date: {{ strftime_now('%d %b %Y') }}<|im_end|>\n"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of a model whose template holds today's date, brought to its end."""
    folder = tmp_path_factory.mktemp("dated")
    make_settings("sft", folder)  # which makes the model
    (folder / "model-qwen3" / "chat_template.jinja").write_text(DATED)
    RECIPES["sft"](settings_in(folder))
    return folder


def settings_in(folder: Path) -> Any:
    return make_settings("sft", folder, steps=4, checkpoint_every=2, evaluate_every=4, learner={"lora": {"rank": 2}})


@pytest.fixture
def half(finished: Path, tmp_path: Path) -> Path:
    """The same after step 2, with the result of the whole run beside it."""
    folder = tmp_path / "half"
    shutil.copytree(finished, folder)
    (folder / "run" / "model").rename(folder / "whole")
    shutil.rmtree(folder / "run" / "checkpoints" / "step-000004")
    manifest(folder).write_text(manifest(folder).read_text().replace(str(finished), str(folder)))
    return folder


def manifest(folder: Path) -> Path:
    return folder / "run" / "checkpoints" / "step-000002" / "manifest.json"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine days later, for whoever asks transformers' templates."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(days=9)

    monkeypatch.setattr(chat_template_utils, "datetime", Later)


def test_a_template_with_the_date_is_resumed_on_a_later_day(half: Path, later: None) -> None:
    model = RECIPES["sft"](settings_in(half))
    assert model is not None
    assert max_difference(half / "whole", model) == 0


def test_a_finished_command_started_again_gives_the_same_model(finished: Path, tmp_path: Path, later: None) -> None:
    """The adapters are merged into the base once more, never into the result."""
    shutil.copytree(finished / "run" / "model", tmp_path / "before")
    model = RECIPES["sft"](settings_in(finished))
    assert model is not None
    assert max_difference(tmp_path / "before", model) == 0


def test_the_facts_are_in_the_checkpoint(half: Path) -> None:
    facts = json.loads(manifest(half).read_text())
    assert facts["base"] == model_hash(half / "model-qwen3")
    assert datetime.fromisoformat(facts["began"]) == beginning_of(half / "run")
    assert facts["learned"] == 2
    moment = datetime(2021, 3, 4, 5, tzinfo=UTC)
    manifest(half).write_text(json.dumps(facts | {"began": moment.isoformat()}))
    assert beginning_of(half / "run") == moment
    shutil.rmtree(half / "run" / "checkpoints")
    first = json.loads((half / "run" / "events.jsonl").read_text().split("\n")[0])["time"]
    assert beginning_of(half / "run").timestamp() == pytest.approx(first)
    now = datetime.now(UTC)
    assert now <= beginning_of(half / "none") <= now + timedelta(minutes=5)


def test_the_template_gets_the_day_on_which_the_run_began(half: Path, later: None) -> None:
    folder = half / "model-qwen3"
    encoder = ChatEncoder(dated(load_tokenizer(folder), datetime(2021, 3, 4, tzinfo=UTC)), folder)
    tokens = encoder.encode_prompt([ChatMessage(role="user", content="Write.")])
    assert "Today Date: 04 Mar 2021" in encoder.tokenizer.decode(tokens)


def test_another_base_at_the_same_place_is_refused(half: Path) -> None:
    path = half / "model-qwen3" / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"] *= 1.001
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(MendableError, match=r"began with another model: the files in .*model-qwen3 were changed since"):
        RECIPES["sft"](settings_in(half))


def test_a_base_at_the_place_of_the_result_is_not_written_over(half: Path) -> None:
    shutil.copytree(half / "whole", half / "run" / "model")
    before = model_hash(half / "run" / "model")
    settings = settings_in(half).model_copy(update={"model": half / "run" / "model"})
    with pytest.raises(MendableError, match="is read by this run"):
        RECIPES["sft"](settings)
    assert model_hash(half / "run" / "model") == before
