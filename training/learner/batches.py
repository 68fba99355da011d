"""The division of a step's examples into micro-batches, and the tensors of a micro-batch.

Every process knows all examples of a step and computes the same division, so no process has to ask another for the number of tokens that a
mean is over. An example is one text (fine-tuning) or two (a pair), which stay together.

The texts of a packed micro-batch follow one another in one row, and each attends to itself only. Otherwise texts of similar length are the rows
of a micro-batch, padded on the right.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from training.common.records import Sample

Example = tuple[Sample, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """S texts with N learned tokens, as tensors.

    Two texts, [7, 8, 9] and [5, 6], of which everything but the first token is learned, packed (B=1, T=5):

    tokens_BT [[7, 8, 9, 5, 6]], positions_BT [[0, 1, 2, 0, 1]], lengths (3, 2), ends [0, 3, 5],
    learned_N [0, 1, 3] (where token i + 1 is predicted), targets_N [8, 9, 6], text_N [0, 0, 1], last_S [2, 4].
    """

    tokens_BT: torch.Tensor
    positions_BT: torch.Tensor
    lengths: tuple[int, ...]
    ends: torch.Tensor | None  # of packed texts, [S + 1], int32, from 0; None for rows
    story_BT: torch.Tensor | None  # of packed texts: the number of each token's text, int32; None for rows
    learned_N: torch.Tensor  # indices into the flattened B x T
    targets_N: torch.Tensor
    weights_N: torch.Tensor
    text_N: torch.Tensor
    last_S: torch.Tensor
    loss_factor: float = 1.0
    """0 for a process without examples of its own, which takes part only because all processes run the model together."""

    @property
    def tokens(self) -> int:
        """Tokens without padding."""
        return sum(self.lengths)


def to_batch(samples: Sequence[Sample], *, packed: bool, device: torch.device, loss_factor: float = 1.0) -> Batch:
    """Return the tensors of a micro-batch of texts."""
    lengths = tuple(len(sample) for sample in samples)
    width = max(lengths)
    starts = torch.tensor([0, *lengths]).cumsum(0)[:-1] if packed else torch.arange(len(samples)) * width
    size = sum(lengths) if packed else len(samples) * width
    tokens, positions, story = (torch.zeros(size, dtype=torch.long) for _ in range(3))
    weights = torch.zeros(size)
    for number, (sample, start) in enumerate(zip(samples, starts.tolist())):
        place = slice(start, start + len(sample))
        tokens[place] = torch.from_numpy(sample.tokens)
        positions[place] = torch.arange(len(sample))
        weights[start : start + len(sample) - 1] = torch.from_numpy(sample.weights[1:])
        story[place] = number
    learned = weights.nonzero()[:, 0]
    shape = (1, size) if packed else (len(samples), width)
    ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32) if packed else None
    return Batch(
        tokens_BT=tokens.view(shape).to(device),
        positions_BT=positions.view(shape).to(device),
        lengths=lengths,
        ends=None if ends is None else ends.to(device),
        story_BT=story.view(shape).int().to(device) if packed else None,
        learned_N=learned.to(device),
        targets_N=tokens[learned + 1].to(device),
        weights_N=weights[learned].to(device),
        text_N=story[learned].to(device),
        last_S=(starts + torch.tensor(lengths) - 1).to(device),
        loss_factor=loss_factor,
    )


def micro_batches(examples: Sequence[Example], *, processes: int, budget: int, packed: bool) -> list[list[list[int]]]:
    """Return the numbers of a step's examples, for each process and each of its micro-batches.

    All processes get the same number of micro-batches, because they synchronise in each; some may be empty. None has more than `budget`
    tokens, padding included, except a single example that is longer.
    """
    if not examples:
        return [[] for _ in range(processes)]
    order = sorted(range(len(examples)), key=lambda number: (-_longest(examples[number]), number))
    parts = _packs(examples, order, processes, budget) if packed else _rows(examples, order, budget)
    parts += [[] for _ in range(-len(parts) % processes)]
    return [parts[process::processes] for process in range(processes)]


def _packs(examples: Sequence[Example], order: Sequence[int], processes: int, budget: int) -> list[list[int]]:
    """Return as few parts as the budget allows, a multiple of the processes, evenly filled: the longest example first, each into the smallest part."""
    sizes = [sum(map(len, example)) for example in examples]
    most = max(budget, *sizes)
    count = max(1, math.ceil(sum(sizes) / (most * processes))) * processes
    while True:
        parts: list[list[int]] = [[] for _ in range(count)]
        filled = [(0, part) for part in range(count)]
        for number in order:
            size, smallest = filled[0]
            parts[smallest].append(number)
            heapq.heapreplace(filled, (size + sizes[number], smallest))
        if max(filled)[0] <= most:
            return parts
        count += processes


def _rows(examples: Sequence[Example], order: Sequence[int], budget: int) -> list[list[int]]:
    """Return parts of examples of similar length, the longest first, each with as many as the budget allows, padding included."""
    parts: list[list[int]] = []
    for number in order:
        if parts and (len(parts[-1]) + 1) * len(examples[number]) * _longest(examples[parts[-1][0]]) <= budget:
            parts[-1].append(number)
        else:
            parts.append([number])
    return parts


def _longest(example: Example) -> int:
    return max(map(len, example))
