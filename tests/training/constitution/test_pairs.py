"""The stage that mixes the pair set."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from training.__main__ import main
from training.common.errors import MendableError
from training.constitution.pairs import pairs
from training.constitution.settings import PairsSettings
from training.datasets.jsonl import Preference, read_jsonl


def line(source: str, number: int, **more: Any) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": f"Write story {number}."}],
        "chosen": [{"role": "assistant", "content": f"The {number} lamps were lit. " * 5}],
        "rejected": [{"role": "assistant", "content": f"There were {number} things."}],
        "source": source,
    } | more


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    votes, violations = tmp_path / "votes.jsonl", tmp_path / "violations.jsonl"
    votes.write_text("".join(json.dumps(line("votes", n, label=0.75, strength=2)) + "\n" for n in range(5)))
    lines = [line("violations", n, principles=[["rare" if n < 14 else "often", 3]], because="x") for n in range(10, 50)]
    violations.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return votes, violations


def settings(tmp_path: Path, files: tuple[Path, ...], **changes: Any) -> PairsSettings:
    return PairsSettings.model_validate({"run_dir": tmp_path / "run", "data": files} | changes)


def test_the_pair_set(files: tuple[Path, Path], tmp_path: Path) -> None:
    folder = pairs(settings(tmp_path, files, rows=20, held_out=files[:1]))
    rows = [json.loads(one) for one in (folder / "train.jsonl").read_text().splitlines()]
    assert Counter(row["source"] for row in rows) == {"votes": 10, "violations": 10}
    assert {row["label"] for row in rows if row["source"] == "votes"} == {0.75}
    assert {row["strength"] for row in rows if row["source"] == "votes"} == {2}
    broken = Counter(tuple(row["principles"][0]) for row in rows if row["source"] == "violations")
    assert broken == {("often", 3): 5, ("rare", 3): 5}
    assert len(list(read_jsonl([folder / "train.jsonl"], Preference))) == 20
    assert len((folder / "held_out.jsonl").read_text().splitlines()) == 5
    report = json.loads((folder / "report.json").read_text())
    assert report["sources"] == [
        {"source": "violations", "available": 40, "taken": 10, "share_wanted": 0.5, "share_taken": 0.5},
        {"source": "votes", "available": 5, "taken": 10, "share_wanted": 0.5, "share_taken": 0.5},
    ]
    card = (folder / "README.md").read_text()
    assert "| violations | 40 | 10 | 0.5 | 0.5 |" in card
    assert "| 5 | often |" in card
    assert "questions" not in card  # nobody was asked


def test_the_order_of_the_files_changes_nothing(files: tuple[Path, Path], tmp_path: Path) -> None:
    first = pairs(settings(tmp_path, files, rows=30)).joinpath("train.jsonl").read_bytes()
    assert pairs(settings(tmp_path, files[::-1], rows=30)).joinpath("train.jsonl").read_bytes() == first


def test_errors_name_the_cause(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = tmp_path / "odd.jsonl"
    odd.write_text(json.dumps(line("rumours", 1)) + "\n")
    with pytest.raises(MendableError, match=r"odd.jsonl, line 1: there is no source 'rumours'; the sources are votes"):
        pairs(settings(tmp_path, (*files, odd)))
    with pytest.raises(MendableError, match="No pair is left"):
        pairs(settings(tmp_path, files, weights={"votes": 0, "violations": 0}))
    (tmp_path / "run.toml").write_text(f'run_dir = "{tmp_path}/run"\ndata = ["{files[0]}"]\nrows = 4\n')
    assert main(["pairs", str(tmp_path / "run.toml")]) == 0
    assert "4 pairs of 5, 0 held out" in capsys.readouterr().out
