"""Each of two processes loads its part of a model only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training import models
from tests.training.conftest import ROOT


@pytest.mark.processes
@pytest.mark.parametrize(
    ("hidden", "layers"),
    [(768, 8), pytest.param(2048, 9, marks=pytest.mark.soak)],
    ids=["250 MB", "2 GB"],
)
def test_a_process_needs_half_of_the_weights(hidden: int, layers: int, tmp_path: Path) -> None:
    shape: dict[str, Any] = {
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_hidden_layers": layers,
        "initializer_range": 0.02,
    }
    model = models.random_model("llama", **shape)
    total = sum(one.double().sum().item() for one in model.parameters())
    size = sum(one.nbytes for one in model.parameters())
    model.save_pretrained(tmp_path / "model", max_shard_size=size // 3)
    models.random_model("llama").save_pretrained(tmp_path / "tiny")
    del model
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launched, "-m", "tests.training.learner.load_parts", str(tmp_path / "model"), str(tmp_path / "tiny")],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = sorted(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
    assert [rank for rank, _, _ in found] == [0, 1]
    for _, peak, loaded in found:
        assert peak < (0.5 + 0.2) * size, peak / size
        assert loaded == pytest.approx(total, abs=1e-3)
