"""Optimizers for a small model from scratch, and the learning rate over a run's steps."""

from __future__ import annotations

import torch
from transformers import Qwen3ForCausalLM

from training.test_model.settings import DemoSettings


def optimizers_for(model: Qwen3ForCausalLM, settings: DemoSettings) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers; AdamW for embeddings, output head and norms, as Muon's authors advise.

    With `match_rms_adamw` (Moonlight, arXiv 2502.16982) Muon's updates have the size of AdamW's, so both learning rates
    are of one scale.
    """
    inner: list[torch.nn.Parameter] = []
    outer: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim == 2 and "embed" not in name and "lm_head" not in name
        (inner if matrix else outer).append(parameter)
    rate, decay = settings.matrix_learning_rate, settings.weight_decay
    return [
        torch.optim.Muon(inner, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(outer, lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def learning_rate_share(step: int, settings: DemoSettings) -> float:
    """Warm-up, stable, decay: the share of the learning rate that step `step` (from 0) uses."""
    warm = min(1.0, (step + 1) / (settings.warmup_steps + 1))
    return min(warm, (settings.steps - step) / (settings.decay_steps + 1))
