"""Log-probabilities of texts under the reference model, the one before training, with the adapter that is continued: computed once and cached by hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from training.common.errors import MendableError, disk_errors_explained
from training.learner import processes
from training.learner.batches import Example
from training.learner.engine import Learner
from training.learner.facts import model_files
from training.objectives.dpo import text_logprobs

_VERSION = "1"
"""Version of the computation: a new number invalidates all cached files."""


def reference_logprobs(
    learner: Learner,
    pairs: Sequence[Example],
    *,
    model: Path,
    adapter: Path | None = None,
    data: str,
    precision: str,
    folder: Path,
) -> torch.Tensor:
    """Return sums of log-probabilities over the learned tokens of both texts of each pair, [P, 2], in nats, float64, under the present model.

    They are cached in `folder` under a hash of the files of the model and of the `adapter` that the run continues, the data's fingerprint and the
    precision. Raises MendableError if one is not
    finite.
    """
    key = processes.broadcast(_key(model, adapter, data, precision) if processes.rank() == 0 else "")
    path = folder / f"reference-{key}.safetensors"
    cached: torch.Tensor | None = processes.broadcast(_cached(path, len(pairs)) if processes.rank() == 0 else None)
    if cached is None:
        own: dict[int, list[float]] = {}
        for numbers, batch, logprobs_N in learner.infer(pairs):
            sums_P2 = text_logprobs(logprobs_N, batch.text_N, len(batch.lengths), mean=False).view(-1, 2)
            own |= dict(zip(numbers, sums_P2.tolist(), strict=True))
        found = {number: sums for part in processes.all_gather(own) for number, sums in part.items()}
        cached = torch.tensor([found[number] for number in range(len(pairs))], dtype=torch.float64).view(-1, 2)
        if processes.rank() == 0:
            with disk_errors_explained(folder):
                folder.mkdir(parents=True, exist_ok=True)
                temporary = path.with_suffix(".writing")
                save_file({"sums_P2": cached}, temporary)
                temporary.rename(path)
    if not cached.isfinite().all():
        bad = int((~cached.isfinite()).any(dim=1).nonzero()[0, 0])
        raise MendableError(
            f"The model gives pair {bad + 1} of the data no finite probability: the model's weights are damaged."
        )
    return cached.to(learner.device)


def _cached(path: Path, pairs: int) -> torch.Tensor | None:
    try:
        sums_P2: torch.Tensor = load_file(path)["sums_P2"]
    except (OSError, KeyError, SafetensorError):
        return None
    return sums_P2 if tuple(sums_P2.shape) == (pairs, 2) else None


def _key(model: Path, adapter: Path | None, data: str, precision: str) -> str:
    sha = hashlib.sha256(f"{_VERSION}\n{data}\n{precision}\n".encode())
    for path in [*model_files(model), *(model_files(adapter) if adapter else ())]:
        with path.open("rb") as file:
            sha.update(hashlib.file_digest(file, "sha256").digest())
    return sha.hexdigest()[:32]
