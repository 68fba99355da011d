"""The reward model of the reward `preference`, trained on the editors' votes (`python -m training reward_model`)."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import torch

from training.common.records import Sample
from training.config.declarations import Answer
from training.config.learner import LearnerSettings, Precision
from training.datasets.encoding import ChatEncoder
from training.datasets.jsonl import ChatMessage
from training.learner.batches import to_batch
from training.learner.check import context_of
from training.learner.engine import dtype_of
from training.learner.facts import dated
from training.learner.models import load_model, load_tokenizer
from training.learner.scorer import Scorer


class PreferenceModel:
    """Scores answers in log-odds: the difference of two scores tells how surely one is preferred. It reads one answer at a time."""

    def __init__(self, folder: Path, device: torch.device, precision: Precision, began: datetime) -> None:
        settings = LearnerSettings(precision=precision, gradient_checkpointing=False)
        self._encoder = ChatEncoder(dated(load_tokenizer(folder), began), folder)
        model = load_model(folder, settings, reward=True, trained=False)
        self._positions = context_of(model.config)  # None: a slice without an end
        self._scorer = Scorer(model).to(device, dtype_of(settings)).eval()
        self._device = device
        self._one = asyncio.Lock()

    async def __call__(self, answer: Answer) -> float:
        async with self._one:
            return await asyncio.to_thread(self.score, answer)

    @torch.inference_mode()
    def score(self, answer: Answer) -> float:
        """Score a text; one that is longer than the model's context is cut at its end."""
        said = [
            ChatMessage(role=one["role"], content=one["content"]) for one in answer.prompt if one["role"] != "system"
        ]
        sample = self._encoder.encode([*said, ChatMessage(role="assistant", content=answer.text)], only_last=True)
        kept = Sample(sample.tokens[: self._positions], sample.weights[: self._positions])
        found: torch.Tensor = self._scorer(to_batch([kept], packed=False, device=self._device))
        return float(found[0])
