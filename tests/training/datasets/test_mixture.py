"""Files of data by weight: a fixed part, a repetition, in a run, in its resumption and in its plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.training import models
from tests.training.conftest import made_up_story
from tests.training.recipes.runs import RECIPES as RUN
from tests.training.recipes.runs import Name, make_settings
from training.common.errors import MendableError
from training.datasets.encoding import ChatEncoder, ContextLimit, conversations, texts
from training.datasets.mixture import weighted
from training.learner.models import load_tokenizer
from training.planning.estimate import make_plan
from training.planning.plan import format_plan
from training.planning.token_counts import count_texts
from training.recipes.pretrain import PretrainSettings
from training.recipes.registry import RECIPES
from training.recipes.sft import SftSettings


@pytest.mark.parametrize(("weight", "count"), [(1, 40), (0.5, 20), (0.26, 10), (2, 80), (2.25, 90), (0.001, 0)])
def test_each_line_as_often_as_its_weight_says(weight: float, count: int) -> None:
    lines = list(range(40))
    found = weighted(lines, weight, "1/0")
    assert len(found) == count
    assert found == weighted(lines, weight, "1/0")
    assert {found.count(line) for line in lines} <= {int(weight), int(weight) + 1}
    if weight % 1 and count:
        assert found != weighted(lines, weight, "2/0") != weighted(lines, weight, "2/1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save(models.random_model("qwen3"), tmp_path_factory.mktemp("mixture") / "model")


@pytest.fixture(scope="module")
def files(folder: Path) -> tuple[Path, Path]:
    lines = ([{"text": made_up_story(seed, 3)} for seed in range(start, start + 12)] for start in (0, 50))
    one, other = (models.write_lines(folder.parent / f"{name}.jsonl", some) for name, some in zip("ab", lines))
    return one, other


def test_texts_and_conversations_are_mixed(folder: Path, files: tuple[Path, Path]) -> None:
    tokenizer = load_tokenizer(folder)
    once = [texts([path], tokenizer, 2048) for path in files]
    mixed = texts(files, tokenizer, 2048, (0.5, 2), 1)
    tokens = [sample.tokens.tolist() for (sample,) in mixed]
    counts = [[tokens.count(sample.tokens.tolist()) for (sample,) in some] for some in once]
    assert (sorted(counts[0]), counts[1]) == ([0] * 6 + [1] * 6, [2] * 12)
    assert [sample.tokens.tolist() for (sample,) in texts(files, tokenizer, 2048)] == [
        sample.tokens.tolist() for some in once for (sample,) in some
    ]
    talks = [models.conversations(folder.parent / f"talk-{seed}.jsonl", 8, seed) for seed in (1, 2)]
    encoder = ChatEncoder(tokenizer, folder)
    assert len(conversations(talks, encoder, ContextLimit(2048, "refuse"), (0.25, 3), 1)) == 2 + 24


def settings_of(kind: Any, folder: Path, files: tuple[Path, ...], **more: Any) -> Any:
    return kind.model_validate({"run_dir": folder / "run", "model": folder, "data": files, "context": 2048} | more)


@pytest.mark.parametrize("weights", [(1,), (1, 2, 3), (0, 1), (-1, 1), (1, 1001)])
def test_wrong_weights_are_refused(folder: Path, files: tuple[Path, Path], weights: tuple[float, ...]) -> None:
    for kind in (SftSettings, PretrainSettings):
        with pytest.raises(ValidationError, match="data_weights"):
            settings_of(kind, folder, files, data_weights=weights)


def test_the_plan_counts_what_is_learned(folder: Path, files: tuple[Path, Path]) -> None:
    recipe = RECIPES["pretrain"]
    one, other, mixed = (
        count_texts(recipe, settings_of(PretrainSettings, folder, paths, data_weights=weights), 1.35)
        for paths, weights in ((files[:1], ()), (files[1:], ()), (files, (0.5, 2)))
    )
    assert mixed.examples == 0.5 * 12 + 2 * 12
    assert mixed.tokens == pytest.approx(0.5 * one.tokens + 2 * other.tokens)
    assert mixed.squares == pytest.approx(0.5 * one.squares + 2 * other.squares)
    assert mixed.longest == max(one.longest, other.longest)
    assert [part[:3] for part in mixed.mixed] == [(files[0].name, 0.5, 6), (files[1].name, 2, 24)]
    assert sum(tokens for *_, tokens in mixed.mixed) == mixed.tokens
    assert one.mixed == []


def test_the_plan_says_how_much_of_each_file_is_read(folder: Path, files: tuple[Path, Path]) -> None:
    given = settings_of(PretrainSettings, folder, files, data_weights=(0.5, 2))
    page = format_plan(make_plan(RECIPES["pretrain"], given))
    assert f"of {files[0].name}, with weight 0.5: 6 " in page
    assert f"of {files[1].name}, with weight 2: 24 " in page


@pytest.mark.parametrize("name", ["sft", "pretrain"])
def test_a_run_learns_the_mixture_and_keeps_it(tmp_path: Path, name: Name) -> None:
    """Also after a stop: what is drawn depends on the seed alone."""
    settings = make_settings(name, tmp_path, steps=1, checkpoint_every=1, data_weights=(0.5,))
    assert RUN[name](settings)
    both = settings.model_copy(update={"data": settings.data * 2, "data_weights": (0.25, 0.25)})
    with pytest.raises(MendableError, match=r"other settings .*data_weights"):
        RUN[name](both)
    again = settings.model_copy(update={"run_dir": tmp_path / "again"})
    assert RUN[name](again)
    manifests = [
        json.loads((tmp_path / run / "checkpoints" / "step-000001" / "manifest.json").read_bytes())["data"]
        for run in ("run", "again")
    ]
    assert manifests[0] == manifests[1]
