"""Weights of a version that differs from its base, without training."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.servers import DEMO_MODEL
from training.config.learner import LearnerSettings, Lora
from training.learner.export import save_model
from training.learner.models import load_model


def adapted(folder: Path, seed: int = 1, base: Path = DEMO_MODEL) -> Path:
    """A model with an adapter that turns it round, as a run leaves both."""
    settings = LearnerSettings(precision="float32", lora=Lora(rank=8, alpha=16))
    torch.manual_seed(seed)
    model = load_model(base, settings)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".lora_B." in name:
                weight.normal_(0, 0.2)
    weights = {f"model.{name}": one for name, one in model.state_dict().items()}
    save_model(weights, model, base, folder / "model", "# A version\n", settings)
    return folder
