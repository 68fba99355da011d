"""Server and learner in bfloat16: rounding passes, a stale matrix does not, in a run that resumes either."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.training import models
from tests.training.recipes.runs import metric_by_step
from tests.training.rollouts.fake import FakeServer
from training.recipes.grpo import GrpoSettings
from training.recipes.grpo.loop import grpo
from training.rollouts import run as rollouts
from training.rollouts.agreement import NAME
from training.rollouts.sync import LogprobMismatch

HEAD = "lm_head.weight"


class RealModel(FakeServer):
    """A FAKE server that has a real model, in float32, with a head of its own; `stale` names weights that it never reloads."""

    def __init__(self, folder: Path, stale: str = "") -> None:
        self.model = models.random_model("qwen3", tie_word_embeddings=False).eval()
        self.stale = stale
        self._take(load_file(folder / "model.safetensors"))
        super().__init__()

    def _take(self, weights: dict[str, torch.Tensor], stale: str = "") -> None:
        weights = {HEAD: weights["model.embed_tokens.weight"]} | weights
        weights.pop(stale, None)
        self.model.load_state_dict({name: one.float() for name, one in weights.items()}, strict=False)

    @torch.no_grad()
    def _logprobs(self, tokens: list[int]) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=torch.tensor([tokens])).logits[0]
        return logits.log_softmax(-1)

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/collective_rpc":
            self._take(load_file(Path(body["kwargs"]["weights_path"]) / "model.safetensors"), self.stale)
        elif path == "/v1/completions":
            tokens = body["prompt"]
            found = self._logprobs(tokens)[range(len(tokens) - 1), tokens[1:]].tolist()
            listed = [{str(token): {"logprob": value}} for token, value in zip(tokens[1:], found)]
            return {"choices": [{"prompt_logprobs": [None, *listed]}]}
        elif path == "/inference/v1/generate":
            return self._write(body)
        return {}

    def _write(self, body: dict[str, Any]) -> Any:
        """The second half of some stories is the first once more, so that the rewards of a group differ."""
        asked, prompt = body["sampling_params"], len(body["token_ids"])
        chance = torch.Generator().manual_seed(asked["seed"])
        tokens, content = list(body["token_ids"]), []
        for place in range(min(24, asked["max_tokens"])):
            last = self._logprobs(tokens)[-1]
            again = place >= 12 and asked["seed"] % 2
            tokens.append(
                tokens[prompt + place - 12] if again else int(torch.multinomial(last.exp(), 1, generator=chance))
            )
            content.append({"logprob": float(last[tokens[-1]])})
        written = tokens[prompt:]
        return {"choices": [{"token_ids": written, "finish_reason": "length", "logprobs": {"content": content}}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tied")
    models.save(models.random_model("qwen3", tie_word_embeddings=True).bfloat16(), made / "model")
    models.conversations(made / "data.jsonl", 4)
    return made


def settings(folder: Path, run: Path, steps: int = 3, **learner: Any) -> GrpoSettings:
    return GrpoSettings.model_validate(
        {
            "run_dir": run, "model": folder / "model", "data": (folder / "data.jsonl",), "context": 1024, "steps": steps, "batch": 4,
            "group": 2, "human": None, "checkpoint_every": 1, "rewards": {"weights": {"repetition": 1.0}, "min_std": 0.0},
            "guards": {"length_ratio": None, "cut": None, "repetition": None},
            "rollouts": {"logprob_tolerance": 1e-3},
            "learner": {"precision": "bfloat16", "threads": 1, "gradient_checkpointing": False, "learning_rate": 1e-2} | learner,
        }
    )  # fmt: skip


def run(given: GrpoSettings, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "make_servers", lambda *_: [server])
    try:
        grpo(given)
    finally:
        server.stop()


def test_rounding_passes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings(folder, tmp_path / "run")
    run(given, RealModel(folder / "model"), monkeypatch)
    differences = metric_by_step(given.run_dir, "server_apart").values()
    assert min(differences) > given.rollouts.logprob_tolerance  # more than would be allowed without a baseline
    assert (
        json.loads((given.run_dir / "rollouts" / NAME).read_text())["noise"]
        == metric_by_step(given.run_dir, "server_apart")[1]
    )


@pytest.mark.parametrize("stale", [HEAD, "model.layers.1.mlp.down_proj.weight"])
def test_a_stale_matrix_does_not(stale: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LogprobMismatch):
        run(settings(folder, tmp_path / "run"), RealModel(folder / "model", stale), monkeypatch)


def test_a_run_that_resumes_remembers_the_rounding(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its server kept of the old weights is less than what unchanged weights may differ by at first sight."""
    small = {"learning_rate": 2e-3}
    given = settings(folder, tmp_path / "run", 2, **small)
    run(given, RealModel(folder / "model"), monkeypatch)
    (given.run_dir / "model").rename(tmp_path / "done")
    for place in (given.run_dir / "checkpoints" / "step-000002").iterdir():
        place.unlink()
    (given.run_dir / "checkpoints" / "step-000002").rmdir()
    (given.run_dir / "rollouts" / "step-00001.jsonl").unlink()
    with pytest.raises(LogprobMismatch) as found:
        run(given, RealModel(folder / "model", HEAD), monkeypatch)
    assert "0.1 are allowed" not in str(found.value)


def test_other_weights_are_no_rounding(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = models.save(models.random_model("qwen3", seed=1, tie_word_embeddings=True), tmp_path / "other")
    with pytest.raises(LogprobMismatch):
        run(settings(folder, tmp_path / "run"), RealModel(other, HEAD), monkeypatch)
