"""Adapters: what a server must apply, and which ranks the site's own takes. No server is behind these tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from training.planning.estimate import make_plan
from training.planning.plan import format_plan
from training.recipes.registry import RECIPES
from training.serving.vllm import ADAPTER_RANK
from workers.serving import keeper, loading
from workers.serving.loading import CannotLoad, check_applied
from writer.stories.models import ModelVersion


@pytest.mark.parametrize("applied", [True, False])
def test_an_adapter_that_changes_nothing_is_unloaded(applied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(url: str, path: str, key: str, body: dict[str, Any], *, seconds: float) -> httpx2.Response:
        asked.append(path)
        nats = -2.0 if applied and body.get("model") == "adapter" else -1.0
        return httpx2.Response(200, json={"choices": [{"prompt_logprobs": [None, {"5": {"logprob": nats}}]}]})

    monkeypatch.setattr(loading, "ask_own", answer)
    if applied:
        check_applied("http://server", "key", "adapter", "base")
        assert "/v1/unload_lora_adapter" not in asked
    else:
        with pytest.raises(CannotLoad, match="changes nothing on the model server"):
            check_applied("http://server", "key", "adapter", "base")
        assert asked[-1] == "/v1/unload_lora_adapter"


@pytest.mark.parametrize(("rank", "as_adapter"), [(ADAPTER_RANK, True), (ADAPTER_RANK + 1, False), (128, False)])
def test_a_rank_that_the_server_does_not_take_is_served_whole(
    rank: int, as_adapter: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank}))
    monkeypatch.setattr(keeper, "version_folder", lambda _: tmp_path)
    base = ModelVersion(name="base", served_name="base")
    version = ModelVersion(name="run", parent=base, manifest={"adapter/adapter_model.safetensors": {}}, sha256="0")
    assert keeper._as_adapter(version, {"base"}) == as_adapter


@pytest.mark.parametrize(("rank", "said"), [(ADAPTER_RANK, False), (128, True)])
def test_the_plan_says_that_a_rank_is_served_whole(rank: int, said: bool, tmp_path: Path) -> None:
    values = {
        "run_dir": tmp_path / "run",
        "model": tmp_path / "Qwen3-8B",
        "data": [tmp_path / "data.jsonl"],
        "learner": {"lora": {"rank": rank}},
    }
    plan = make_plan(RECIPES["sft"], RECIPES["sft"].settings.model_validate(values), texts=100, words=1000.0, gpus=1)
    assert ("served as a whole model" in format_plan(plan)) == said
