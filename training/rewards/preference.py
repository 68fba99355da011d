"""The editors' preference, from a model that learned it from their votes (`python -m training reward_model`)."""

from __future__ import annotations

from pathlib import Path

import torch

from training.common.records import Sample
from training.config.learner import LearnerSettings
from training.datasets.encoding import ChatEncoder
from training.datasets.jsonl import ChatMessage
from training.datasets.requests import Task
from training.learner.batches import to_batch
from training.learner.engine import DTYPES
from training.learner.models import load_model, load_tokenizer
from training.learner.scorer import Scorer


class Preference:
    """One number for a text, in log-odds: the difference of two is how surely one is preferred. Reads one text at a time."""

    def __init__(self, folder: Path, device: torch.device, precision: str) -> None:
        settings = LearnerSettings(precision=precision, gradient_checkpointing=False)
        self._encoder = ChatEncoder(load_tokenizer(folder), folder)
        model = load_model(folder, settings, reward=True)
        self._positions = int(model.config.get_text_config().max_position_embeddings)
        self._scorer = Scorer(model).to(device, DTYPES[settings.precision]).eval()
        self._device = device

    @torch.inference_mode()
    def __call__(self, task: Task, text: str) -> float:
        """A text that is longer than the model's positions is judged by its beginning."""
        said = [ChatMessage(role=one["role"], content=one["content"]) for one in task.prompt if one["role"] != "system"]
        sample = self._encoder.encode([*said, ChatMessage(role="assistant", content=text)], only_last=True)
        kept = Sample(sample.tokens[: self._positions], sample.weights[: self._positions])
        answer: torch.Tensor = self._scorer(to_batch([kept], packed=False, device=self._device))
        return float(answer[0])
