"""What is computed of each family is its model, and each recipe leaves the model that it trained: tiny random weights, the published tokenizer and template."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from transformers import PreTrainedTokenizerFast

from tests.families import FAMILIES, MIXTURES, Cell, Family, Line, expected
from tests.published import SOURCES, tokenizer
from tests.training import models
from tests.training.conftest import made_up_story
from tests.training.learner import kinds
from training.common.errors import MendableError
from training.learner.check import auto_class, check_model, read_config
from training.learner.finish import PROBE
from training.learner.probe import Outputs, Tokens, eager_outputs, fixed_text, learner_logprobs
from training.recipes.registry import RECIPES
from training.rewards.records import StoryScore
from training.rollouts.records import Dump, Rollout, step_name

RUNS: dict[Line, dict[str, Any]] = {
    "sft": {},
    "dpo": {"lora": {"rank": 4, "alpha": 8}},
    "reward_model": {"lora": {"rank": 4, "alpha": 8}},
    "grpo": {},
}
NARROW = {"hidden_size": 8, "intermediate_size": 16}
"""With the published vocabularies there are a few million weights."""


@pytest.fixture(
    scope="module",
    # in groups with the same tokenizer, since reading one takes a second or more
    params=[
        pytest.param(one, marks=pytest.mark.xdist_group(f"tokenizer {SOURCES[one.tokens].tokenizer}"), id=str(one))
        for one in FAMILIES
    ],
)
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


@pytest.fixture(scope="module")
def source(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("family")
    if family.name in MIXTURES:  # which are refused before their tokenizer is read
        yield kinds.save(family.kind, folder / family.name, **family.changes)
    else:
        yield family.save(folder / family.name, **NARROW)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def before(source: Path, family: Family) -> Outputs:
    """What the family's model computes untrained, of the text by which exports are compared."""
    return eager_outputs(auto_class(reward=False).from_pretrained(source).eval(), fixed_text(family.vocabulary, PROBE))


def names(folder: Path) -> set[str]:
    with safe_open(folder / "model.safetensors", "np") as file:
        return set(file.keys())


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that does not stay: checkpoints of all runs would be gigabytes."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def as_expected(cell: Cell, source: Path) -> Any:
    """Return a context that expects the refusal of a cell, if it is one."""
    if cell.result == "holds":
        return nullcontext()
    return pytest.raises(MendableError, match=f"^{re.escape(cell.sentence.format(source))}$")


@pytest.mark.table("computed")
@pytest.mark.parametrize("reward", [False, True])
def test_what_is_computed_is_the_model(family: Family, source: Path, reward: bool) -> None:
    """A mixture of experts may be asked for rewards, which trains nothing."""
    trained = expected("sft", family).result == "holds"
    cell = expected("computed", family)
    if reward:
        cell = replace(cell, sentence=cell.sentence.replace("not supported:", "not supported as a reward model:"))
    with as_expected(cell, source):
        check_model(source, read_config(source), reward=reward, packing=True, trained=trained)


def dump(folder: Path, encode: PreTrainedTokenizerFast) -> Path:
    """Two groups of two stories, with scores."""
    chance = random.Random(0)
    written = Dump(folder / "stories" / f"{step_name(0)}.jsonl")
    for place in ((number, story) for number in range(2) for story in range(2)):
        text = made_up_story(10 * place[0] + place[1], 1)
        tokens = np.asarray([*encode(text, add_special_tokens=False)["input_ids"], encode.eos_token_id], np.int32)
        written.add_story(place, Rollout(tokens, np.full(len(tokens), -5.0, np.float32), True, text, 0))
        written.add_score(place, StoryScore({"length": chance.random()}, {}))
    written.close()
    return written.path.parent


def data(folder: Path, *, pairs: bool) -> Path:
    """Two short conversations or pairs: with these vocabularies each token takes its time."""
    lines: list[dict[str, Any]] = []
    for number in range(2):
        one, other = models.messages(number, 1), models.messages(number + 2, 1)
        lines.append({"prompt": one[:1], "chosen": one[1:], "rejected": other[1:]} if pairs else {"messages": one})
    return models.write_lines(folder / "data.jsonl", lines)


def settings_of(recipe: Line, folder: Path, source: Path, encode: PreTrainedTokenizerFast | None) -> Any:
    """Return the settings of a run of one step; without a tokenizer, of one whose files of data do not exist."""
    values: dict[str, Any] = {
        "run_dir": folder / "run", "model": source, "context": 1024, "steps": 1, "batch": 2,
        "data": (data(folder, pairs=recipe in ("dpo", "reward_model")) if encode else folder / "none.jsonl",),
        "learner": {"precision": "float32", "learning_rate": 0.01, "warmup_share": 0, "threads": 1} | RUNS[recipe],
    }  # fmt: skip
    if recipe == "grpo":
        values |= {
            "group": 2, "human": None, "replay": dump(folder, encode) if encode else folder / "none",
            "rewards": {"weights": {"length": 1.0}, "min_std": 0.0}, "guards": {"length_ratio": None, "cut": None},
        }  # fmt: skip
    return RECIPES[recipe].settings.model_validate(values)


@pytest.mark.table("export")
@pytest.mark.parametrize("recipe", RUNS)
def test_a_recipe_leaves_the_model_that_it_trained(
    recipe: Line,
    family: Family,
    source: Path,
    folder: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or refuses the model before it reads any data."""
    if expected(recipe, family).result == "refused":
        settings = settings_of(recipe, folder, source, None)
        with as_expected(expected(recipe, family), source):
            RECIPES[recipe].load()(settings)
        assert not (settings.run_dir / "model").exists()
        return
    outputs: dict[str, Outputs] = {}

    def recorded(name: str, compute: Callable[[Any, Tokens], Outputs]) -> Callable[[Any, Tokens], Outputs]:
        def run(model: Any, text: Tokens) -> Outputs:
            outputs[name] = compute(model, text)
            return outputs[name]

        return run

    def read(*_: Any, **__: Any) -> PreTrainedTokenizerFast:
        return tokenizer(family.tokens, source)

    monkeypatch.setattr("training.learner.finish.learner_logprobs", recorded("trained", learner_logprobs))
    monkeypatch.setattr("training.learner.export.eager_outputs", recorded("read back", eager_outputs))
    monkeypatch.setattr("training.learner.models.AutoTokenizer", SimpleNamespace(from_pretrained=read))
    if recipe != "sft":  # it is the same of each recipe, and takes a second or more
        unwritten = SimpleNamespace(save_pretrained=lambda _: None)
        monkeypatch.setattr("training.learner.export.load_tokenizer", lambda _: unwritten)
    settings = settings_of(recipe, folder, source, read())
    RECIPES[recipe].load()(settings)
    assert np.abs(outputs["read back"] - outputs["trained"]).max() < 1e-4
    if recipe != "reward_model":  # whose head is new
        assert np.abs(request.getfixturevalue("before") - outputs["trained"]).max() > 1e-3
        assert names(settings.run_dir / "model") == names(source)
