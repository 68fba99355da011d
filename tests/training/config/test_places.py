"""A run never writes in or over what it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training.common.errors import MendableError
from training.config.places import check_places
from training.recipes.grpo import GrpoSettings
from training.recipes.sft import SftSettings


def check(folder: Path, run: str = "run", **changes: Any) -> None:
    given: dict[str, Any] = {"run_dir": folder / run, "model": folder / "model", "data": [folder / "data.jsonl"]}
    settings = SftSettings.model_validate(given | changes)
    check_places(settings, settings.run_dir)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("model", "run/model", "run/data"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "to-the-result").symlink_to(tmp_path / "run" / "model")
    (tmp_path / "data.jsonl").touch()
    return tmp_path


def test_inputs_beside_the_run_and_those_that_the_studio_puts_into_it(place: Path) -> None:
    check(place)
    check(place, data=[place / "run" / "data" / "train.jsonl"], held_out=[place / "run" / "data" / "held_out.jsonl"])


@pytest.mark.parametrize(
    ("run", "changes"),
    [
        ("run", {"model": "run/model"}),
        ("run", {"model": "run"}),
        ("run", {"model": "to-the-result"}),
        ("run", {"model": "run/../run/./model"}),
        ("run", {"data": ["run/train.jsonl"]}),
        ("run", {"data": ["data.jsonl", "run/checkpoints/data.jsonl"]}),
        ("run", {"held_out": ["run/events.jsonl"]}),
        ("model", {}),
        ("model/run", {}),
    ],
)
def test_what_would_be_written_over_is_refused(place: Path, run: str, changes: dict[str, Any]) -> None:
    placed = {
        name: place / value if isinstance(value, str) else [place / one for one in value]
        for name, value in changes.items()
    }
    with pytest.raises(MendableError, match=r"is read by this run, which writes into .*choose another run_dir"):
        check(place, run, **placed)


def test_a_link_at_the_place_of_the_result_is_followed(place: Path) -> None:
    (place / "run" / "model").rmdir()
    (place / "run" / "model").symlink_to(place / "model")
    with pytest.raises(MendableError, match="is read by this run"):
        check(place)


def test_inputs_of_groups_of_settings_are_found(place: Path) -> None:
    given: dict[str, Any] = {"run_dir": place / "run", "model": place / "model", "data": [place / "data.jsonl"]}
    rewards = {"weights": {"preference": 1.0}, "preference": place / "run" / "model"}
    settings = GrpoSettings.model_validate(given | {"rewards": rewards})
    with pytest.raises(MendableError, match="is read by this run"):
        check_places(settings, settings.run_dir)
