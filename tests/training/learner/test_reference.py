"""The reference model's log-probabilities are cached, and the cache is used only if nothing that they depend on has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch

from tests.training import models
from training.config.learner import LearnerSettings
from training.datasets.encoding import ChatEncoder, ContextLimit, Pairs, fingerprint, pairs
from training.learner.engine import Learner
from training.learner.models import load_model, load_tokenizer
from training.learner.reference import reference_logprobs

Precision = Literal["float32", "bfloat16"]


class Setup:
    """A model's folder, preferences, and the folder of the cache."""

    def __init__(self, folder: Path) -> None:
        self.model, self.cache = folder / "model", folder / "cache"
        self.data = models.preferences(folder / "data.jsonl", 4)
        models.save(models.random_model("qwen3"), self.model)

    def pairs(self) -> Pairs:
        return pairs([self.data], ChatEncoder(load_tokenizer(self.model), self.model), ContextLimit(2048, "refuse"))

    def logprobs(self, precision: Precision = "float32") -> torch.Tensor:
        settings = LearnerSettings(precision=precision, threads=1)
        learner = Learner(load_model(self.model, settings), settings, packed=False)
        some = self.pairs().examples
        return reference_logprobs(
            learner, some, model=self.model, data=fingerprint(some), precision=precision, folder=self.cache
        )

    @property
    def files(self) -> set[str]:
        return {path.name for path in self.cache.iterdir()}


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def test_they_are_computed_once(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    first = setup.logprobs()
    assert first.shape == (4, 2)
    monkeypatch.setattr(Learner, "infer", lambda *_: pytest.fail("they were computed again"))
    assert torch.equal(setup.logprobs(), first)


@pytest.mark.parametrize("what", ["model", "data", "template", "precision"])
def test_they_are_computed_again_when_something_changes(setup: Setup, what: str) -> None:
    first = setup.logprobs()
    before = setup.files
    if what == "model":
        models.save(models.random_model("qwen3", seed=1), setup.model)
    elif what == "data":
        models.preferences(setup.data, 4, seed=1)
    elif what == "template":
        template = setup.model / "chat_template.jinja"
        template.write_text("{{ 'Read this.' }}" + template.read_text("utf-8"), "utf-8")
    second = setup.logprobs("bfloat16" if what == "precision" else "float32")
    assert len(setup.files) == 2
    assert setup.files > before
    assert not torch.equal(second, first)


def test_a_damaged_cache_file_is_computed_again(setup: Setup) -> None:
    first = setup.logprobs()
    (cached,) = setup.cache.iterdir()
    cached.write_bytes(cached.read_bytes()[:-8])
    assert torch.equal(setup.logprobs(), first)
    assert cached.stat().st_size > 8
