"""Weights of a version that differs from its base, without training."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.servers import DEMO_MODEL
from training.config.learner import LearnerSettings, Lora
from training.learner.adapters import load_adapter
from training.learner.engine import Learner
from training.learner.export import save_model
from training.learner.models import load_model
from training.learner.probe import fixed_text, learner_logprobs

LORA = Lora(rank=8, alpha=16)


def adapted(folder: Path, seed: int = 1, base: Path = DEMO_MODEL, adapter: Path | None = None) -> Path:
    """A model with an adapter that turns it round, as a run leaves both; with `adapter`, one that continues that."""
    settings = LearnerSettings(precision="float32", lora=LORA)
    torch.manual_seed(seed)
    model = load_model(base, settings)
    if adapter:
        load_adapter(model, adapter)
    learner = Learner(model, settings, packed=False)
    with torch.no_grad():
        for name, weight in learner.model.named_parameters():
            if ".lora_B." in name:
                weight += 0.2 * torch.randn_like(weight)
    text = fixed_text(learner.model.config.get_text_config().vocab_size, 16)
    probe = text, learner_logprobs(learner, text)
    save_model(learner.engine.weights(), learner.model, base, folder / "model", "# A version\n", settings, probe)
    return folder
