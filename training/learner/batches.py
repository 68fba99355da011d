"""Samples as tensors, and in the order of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from training.errors import MendableError
from training.records import Sample, Window


def batches_from(step: int, plan: Callable[[int], list[Window]], rows: int) -> Iterator[list[Window]]:
    """The windows of each step from `step` on, for ever. `plan(epoch)` gives an epoch's windows; a rest at its end is dropped.

    So the number of the step is the whole cursor of the data.
    """
    epoch = 0
    while True:
        windows = plan(epoch)
        batches = len(windows) // rows
        if batches == 0:
            raise MendableError(f"The corpus gives {len(windows)} rows, fewer than batch_rows ({rows}).")
        for batch in range(min(step, batches), batches):
            yield windows[batch * rows : (batch + 1) * rows]
        epoch, step = epoch + 1, max(0, step - batches)


def to_tensors(samples: list[Sample], length: int, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and weights, each [samples, length]. Padding is on the right, where a causal model does not look."""
    tokens_BT = torch.full((len(samples), length), pad)
    weights_BT = torch.zeros(len(samples), length)
    for row, sample in enumerate(samples):
        tokens_BT[row, : len(sample.tokens)] = torch.tensor(sample.tokens)
        weights_BT[row, : len(sample.weights)] = torch.tensor(sample.weights)
    return tokens_BT, weights_BT
