"""The settings files of the library: the recipes read them, they state the origin of their values, and ours fit on their GPUs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import ROOT
from training.planning.estimate import make_plan
from training.planning.plan import format_plan
from training.recipes.registry import RECIPES, read_run

FILES = ROOT / "training" / "recipes" / "files"
PAPERS = sorted((FILES / "papers").glob("*.toml"))
OURS = sorted((FILES / "a100x4").glob("*.toml"))


def plan(path: Path, **flags: Any) -> str:
    return format_plan(make_plan(*read_run(path), **flags))


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def test_there_is_a_file_for_each_recipe() -> None:
    assert [path.stem for path in OURS] == ["dpo", "grpo", "pretrain", "reward-model", "sft"]
    assert {read(path)["recipe"] for path in OURS} == set(RECIPES)
    assert len(PAPERS) == 7


@pytest.mark.parametrize("path", PAPERS + OURS, ids=name)
def test_a_recipe_can_read_it(path: Path) -> None:
    _, settings = read_run(path)
    paths = [settings.run_dir, settings.model, *settings.data, *settings.held_out]
    assert not any(one.is_absolute() for one in paths)


@pytest.mark.parametrize("path", PAPERS + OURS, ids=name)
def test_a_plan_can_be_made_of_it(path: Path) -> None:
    text = plan(path, gpus=64, gpu="h200", texts=10_000, words=3000)
    assert "It fits" in text
    assert "the run at 40% of the FLOP/s" in text


@pytest.mark.parametrize("path", OURS, ids=name)
def test_the_files_for_four_gpus_fit_on_them(path: Path) -> None:
    found = make_plan(*read_run(path), gpus=4, gpu="a100-80")
    assert found.fits
    assert found.settings.learner.zero_stage == 3
    assert found.settings.learner.gradient_checkpointing
    assert found.settings.context >= 12_000 * 1.35 + 500  # a story of 12,000 words and its request


@pytest.mark.parametrize("path", PAPERS, ids=name)
def test_each_value_of_a_paper_states_its_origin(path: Path) -> None:
    for line in path.read_text().splitlines():
        if re.match(r"\w+ = ", line) and not line.startswith(("recipe", "run_dir", "data")):
            assert re.search(r"# (paper|code|notes|ours|the model's card)", line), line


@pytest.mark.parametrize(
    ("file", "values"),
    [
        (
            "weaver-pretrain",
            {"context": 4096, "batch_tokens": 512 * 4096, "learner.learning_rate": 1e-4, "learner.final_share": 0.1}
            | {"learner.betas": [0.9, 0.95], "learner.epsilon": 1e-8, "learner.schedule": "cosine"},
        ),
        (
            "weaver-sft",
            {"batch": 256, "learner.learning_rate": 4e-5, "learner.warmup_share": 0.05, "learner.schedule": "cosine"},
        ),
        (
            "weaver-dpo",
            {
                "batch": 32,
                "beta": 0.1,
                "learner.learning_rate": 5e-7,
                "learner.schedule": "linear",
                "learner.warmup_share": 0.05,
            },
        ),
        ("longwriter-zero-pretrain", {"context": 32_768, "batch_tokens": 512 * 32_768, "learner.packing": "on"}),
        ("longwriter-zero-reward-model", {"thresholds": [], "center": 0.0}),
    ],
)
def test_the_values_of_the_papers(file: str, values: dict[str, Any]) -> None:
    raw = read(FILES / "papers" / f"{file}.toml")
    flat = raw | {f"learner.{key}": value for key, value in raw["learner"].items()}
    assert {key: flat[key] for key in values} == values


@pytest.mark.parametrize(("file", "tokens"), [("weaver-pretrain", 50e9), ("longwriter-zero-pretrain", 30e9)])
def test_the_steps_of_pretraining_are_the_tokens_of_the_paper(file: str, tokens: float) -> None:
    raw = read(FILES / "papers" / f"{file}.toml")
    assert raw["steps"] * raw["batch_tokens"] == pytest.approx(tokens, rel=0.001)


def test_the_other_sizes_of_weaver_in_the_comment() -> None:
    text = (FILES / "papers" / "weaver-pretrain.toml").read_text()
    assert "steps = 19_073" in text  # 40 billion tokens
    assert pytest.approx(40e9, rel=0.001) == 19_073 * 512 * 4096
    assert "steps = 8_450, batch_tokens = 2_129_920" in text  # 18 billion
    assert 520 * 4096 == 2_129_920
    assert pytest.approx(18e9, rel=0.001) == 8_450 * 2_129_920


def test_the_files_of_papers_mark_what_was_not_found() -> None:
    for path in PAPERS:
        assert "NOT FOUND" in path.read_text(), path
