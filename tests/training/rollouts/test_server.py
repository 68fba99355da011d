"""A run's own server: its environment, in which the run's mark stays but no rank's place among processes and no judge's key, and its adapters."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.common.heap import UNBROKEN
from training.recipes.grpo import GrpoSettings
from training.rollouts.server import OwnServer
from training.serving.vllm import importable

pytestmark = pytest.mark.skipif(not importable(), reason="vLLM is not installed here")


@pytest.mark.parametrize(("rank", "told"), [(1, "8"), (32, "32"), (65, "128"), (512, "512")])
def test_it_takes_adapters_of_the_run_s_rank(tmp_path: Path, rank: int, told: str) -> None:
    rewards = {"weights": {"repetition": -1.0}}
    learner = {"lora": {"rank": rank}}
    settings = GrpoSettings(run_dir=tmp_path, model=tmp_path, data=(tmp_path,), rewards=rewards, learner=learner)
    command = OwnServer(settings, 256).command()
    assert command[command.index("--max-lora-rank") + 1] == told
    without = settings.model_copy(update={"learner": settings.learner.model_copy(update={"lora": None})})
    assert "--enable-lora" not in OwnServer(without, 256).command()


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
    left_out |= {"JUDGE_KEY": "a secret", "SECOND_JUDGE_KEY": "another"} | UNBROKEN
    for name, value in (kept | left_out).items():
        monkeypatch.setenv(name, value)
    found = OwnServer(settings, 256).environment()
    assert kept.items() <= found.items()
    assert not left_out.keys() & found.keys()
    assert found["VLLM_SERVER_DEV_MODE"] == "1"
