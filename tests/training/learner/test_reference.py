"""What the reference thinks of the pairs is kept, and found again only where nothing that it depends on has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch

from tests.training import models
from training.config.learner import LearnerSettings
from training.datasets.encoding import ChatEncoder, Fitting, Pairs, fingerprint, pairs
from training.learner.engine import Learner
from training.learner.models import load_model, load_tokenizer
from training.learner.reference import reference_logprobs

Precision = Literal["float32", "bfloat16"]


class House:
    """A model's folder, preferences, and the folder of what was kept."""

    def __init__(self, folder: Path) -> None:
        self.model, self.kept = folder / "model", folder / "kept"
        self.data = models.preferences(folder / "data.jsonl", 4)
        models.save(models.random_model("qwen3"), self.model)

    def pairs(self) -> Pairs:
        return pairs([self.data], ChatEncoder(load_tokenizer(self.model), self.model), Fitting(2048, "refuse"))

    def ask(self, precision: Precision = "float32") -> torch.Tensor:
        settings = LearnerSettings(precision=precision, threads=1)
        learner = Learner(load_model(self.model, settings), settings, packed=False)
        some = self.pairs().examples
        return reference_logprobs(
            learner, some, model=self.model, data=fingerprint(some), precision=precision, folder=self.kept
        )

    @property
    def files(self) -> set[str]:
        return {path.name for path in self.kept.iterdir()}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_it_is_computed_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    first = house.ask()
    assert first.shape == (4, 2)
    monkeypatch.setattr(Learner, "read", lambda *_: pytest.fail("it was computed again"))
    assert torch.equal(house.ask(), first)


@pytest.mark.parametrize("what", ["model", "data", "template", "precision"])
def test_it_is_computed_anew_when_something_changes(house: House, what: str) -> None:
    first = house.ask()
    before = house.files
    if what == "model":
        models.save(models.random_model("qwen3", seed=1), house.model)
    elif what == "data":
        models.preferences(house.data, 4, seed=1)
    elif what == "template":
        template = house.model / "chat_template.jinja"
        template.write_text("{{ 'Read this.' }}" + template.read_text("utf-8"), "utf-8")
    anew = house.ask("bfloat16" if what == "precision" else "float32")
    assert len(house.files) == 2
    assert house.files > before
    assert not torch.equal(anew, first)


def test_a_damaged_file_is_computed_anew(house: House) -> None:
    first = house.ask()
    (kept,) = house.kept.iterdir()
    kept.write_bytes(kept.read_bytes()[:-8])
    assert torch.equal(house.ask(), first)
    assert kept.stat().st_size > 8
