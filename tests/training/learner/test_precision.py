"""The precision that a machine computes in, and that a run keeps on another machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.recipes.runs import make_settings, max_difference
from training.config.learner import LearnerSettings
from training.learner.engine import dtype_of
from training.recipes.sft.loop import sft
from training.serving import vllm

SLOW, FAST = "avx2 fma", "avx512f avx512_bf16"
DTYPES = {SLOW: torch.float32, FAST: torch.bfloat16}


def processor(flags: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "cpuinfo").write_text(f"flags : {flags}\n")
    monkeypatch.setattr(vllm, "PROCESSOR", folder / "cpuinfo")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize("flags", [SLOW, FAST])
def test_auto_is_what_the_processor_is_fast_in(flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor(flags, tmp_path, monkeypatch)
    assert dtype_of(LearnerSettings()) == DTYPES[flags]
    assert dtype_of(LearnerSettings(precision="float32")) == torch.float32
    assert dtype_of(LearnerSettings(precision="bfloat16")) == torch.bfloat16


def test_auto_is_bfloat16_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor(SLOW, tmp_path, monkeypatch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert dtype_of(LearnerSettings()) == torch.bfloat16


@pytest.mark.parametrize(("first", "second"), [(SLOW, FAST), (FAST, SLOW)])
def test_a_run_keeps_its_precision_on_another_machine(
    first: str, second: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precision = str(DTYPES[first]).removeprefix("torch.")
    changes: dict[str, Any] = {"steps": 3, "checkpoint_every": 1, "held_out": ()}
    named = make_settings("sft", tmp_path, "named", learner={"precision": precision}, **changes)
    whole = sft(named)
    assert whole

    settings = make_settings("sft", tmp_path, learner={"precision": "auto"}, **changes)
    processor(first, tmp_path, monkeypatch)
    assert sft(settings)
    used = json.loads((settings.run_dir / "settings.json").read_text())
    assert used["learner"]["precision"] == precision
    newest = settings.run_dir / "checkpoints" / "step-000003"
    assert json.loads((newest / "manifest.json").read_text())["settings"] == used
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()

    processor(second, tmp_path, monkeypatch)
    resumed = sft(settings)
    assert resumed
    assert max_difference(whole, resumed) == 0
    assert json.loads((resumed / "config.json").read_text())["dtype"] == precision
