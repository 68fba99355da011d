"""The environment of a run's own server: the run's mark stays, a rank's place among processes and judges' keys do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.recipes.grpo_settings import GrpoSettings
from training.rollouts.server import OwnServer
from training.serving.vllm import importable

pytestmark = pytest.mark.skipif(not importable(), reason="vLLM is not installed here")


def test_what_it_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = GrpoSettings(
        run_dir=tmp_path,
        model=tmp_path,
        data=(tmp_path / "data.jsonl",),
        rewards={"judge": {"url": "http://judge", "model": "mole", "key_variable": "JUDGE_KEY"}},
        guards={"judge": {"url": "http://other", "model": "owl", "key_variable": "SECOND_JUDGE_KEY"}},
    )
    kept = {"LONGHAND_FOLDER": "/runs/7", "SPT_NOENV": "1", "CUDA_VISIBLE_DEVICES": "2,3"}
    left_out = {"RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": "1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    left_out |= {"JUDGE_KEY": "a secret", "SECOND_JUDGE_KEY": "another"}
    for name, value in (kept | left_out).items():
        monkeypatch.setenv(name, value)
    found = OwnServer(settings, 256).environment()
    assert kept.items() <= found.items()
    assert not left_out.keys() & found.keys()
    assert found["VLLM_SERVER_DEV_MODE"] == "1"
