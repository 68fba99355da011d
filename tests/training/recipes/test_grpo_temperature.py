"""The learner scores rollouts at the temperature at which they were sampled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.servers import DEMO_MODEL
from training.common.records import Sample
from training.learner.engine import Learner
from training.learner.models import load_model
from training.recipes.grpo import GrpoSettings
from training.recipes.grpo.loop import Step
from training.rollouts.logprobs import divergence
from training.rollouts.rows import RolloutRow


@pytest.mark.parametrize("temperature", [0.7, 1.4])
def test_the_learner_divides_the_logits_as_the_server_did(tmp_path: Path, temperature: float) -> None:
    settings = GrpoSettings.model_validate(
        {
            "run_dir": tmp_path / "run", "model": DEMO_MODEL, "data": (tmp_path / "data.jsonl",), "context": 256,
            "rewards": {"weights": {"range": 1.0}}, "learner": {"precision": "float32"}, "sampling": {"temperature": temperature},
        }
    )  # fmt: skip
    model = load_model(settings.model, settings.learner)
    tokens = np.random.default_rng(0).integers(10, 1000, 40).astype(np.int32)
    with torch.no_grad():
        logits = model(torch.from_numpy(tokens[None]).long()).logits[0, :-1] / temperature
    logprobs = logits.log_softmax(-1).gather(1, torch.from_numpy(tokens[1:, None]).long())[:, 0].numpy()
    weights = np.ones(40, dtype=np.float32)
    weights[0] = 0
    row = RolloutRow(Sample(tokens, weights), logprobs)

    learner = Learner(model, settings.learner, packed=True)
    step = Step(learner, settings, 0)
    step._learn([row], last=True)
    assert step._sums["apart"] / len(logprobs) < 1e-4
    found = divergence(learner, [(row.sample, logprobs)], temperature)
    assert found == pytest.approx(0, abs=1e-4)
    other = divergence(learner, [(row.sample, logprobs)])
    assert other is not None
    assert abs(other) > 0.05, "a test of nothing, where both temperatures give the same"
