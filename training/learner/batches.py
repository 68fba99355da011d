"""Which texts go through the model together, and how they lie in its tensors.

A step's examples are known to every process, and so is this division of them: no process has to ask another how many tokens
a mean goes over. An example is one text (fine-tuning) or two (a pair), which stay together.

Packed, the texts of a micro-batch lie one after another in one row, each closed in itself. In rows, texts of like length lie one
below the other, padded on the right, where a causal model does not look.
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
    ends: torch.Tensor | None  # of packed texts, [S + 1], int32, from 0; None where the texts lie in rows
    story_BT: torch.Tensor | None  # of packed texts: the number of each token's text, int32
    learned_N: torch.Tensor  # places in the flattened B x T
    targets_N: torch.Tensor
    weights_N: torch.Tensor
    text_N: torch.Tensor
    last_S: torch.Tensor
    counts: float = 1.0
    """0 for a process that has no example of its own and passes through the model only because all do so together."""

    @property
    def tokens(self) -> int:
        """Real tokens, without padding."""
        return sum(self.lengths)


def to_batch(samples: Sequence[Sample], *, packed: bool, device: torch.device, counts: float = 1.0) -> Batch:
    """The tensors of some texts."""
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
        counts=counts,
    )


def micro_batches(examples: Sequence[Example], *, processes: int, budget: int, packed: bool) -> list[list[list[int]]]:
    """The examples of a step, by their numbers, for each process and each of its micro-batches.

    Every process gets as many micro-batches as every other, because they meet in each of them; some may be empty. None has
    more than `budget` tokens, padding included, unless one example alone has.
    """
    if not examples:
        return [[] for _ in range(processes)]
    order = sorted(range(len(examples)), key=lambda number: (-_longest(examples[number]), number))
    parts = _packs(examples, order, processes, budget) if packed else _rows(examples, order, budget)
    parts += [[] for _ in range(-len(parts) % processes)]
    return [parts[process::processes] for process in range(processes)]


def _packs(examples: Sequence[Example], order: Sequence[int], processes: int, budget: int) -> list[list[int]]:
    """As few parts as fit the budget, a multiple of the processes, filled evenly: the longest first, each into the emptiest."""
    sizes = [sum(map(len, example)) for example in examples]
    most = max(budget, *sizes)
    count = max(1, math.ceil(sum(sizes) / (most * processes))) * processes
    while True:
        parts: list[list[int]] = [[] for _ in range(count)]
        filled = [(0, part) for part in range(count)]
        for number in order:
            size, emptiest = filled[0]
            parts[emptiest].append(number)
            heapq.heapreplace(filled, (size + sizes[number], emptiest))
        if max(filled)[0] <= most:
            return parts
        count += processes


def _rows(examples: Sequence[Example], order: Sequence[int], budget: int) -> list[list[int]]:
    """Examples of like length together, the longest first, as many as fit the budget with their padding."""
    parts: list[list[int]] = []
    for number in order:
        if parts and (len(parts[-1]) + 1) * len(examples[number]) * _longest(examples[parts[-1][0]]) <= budget:
            parts[-1].append(number)
        else:
            parts.append([number])
    return parts


def _longest(example: Example) -> int:
    return max(map(len, example))
