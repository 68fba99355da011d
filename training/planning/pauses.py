"""Times of a run that are not its arithmetic: loading the model, the head's tiles, and checkpoints. Does not import torch."""

from __future__ import annotations

from training.planning.costs import TILE, Card, Setup, checkpoint_bytes
from training.planning.shapes import head_parameters

DISK_BANDWIDTH, HASH_BANDWIDTH = 1e9, 1e9
"""Assumed bytes/s to a disk, and of one process' SHA-256."""


def tile_seconds(setup: Setup, card: Card, tokens: float) -> float:
    """Return the seconds that one GPU adds the tiles' gradients of a trained head to their sum, for `tokens` learned tokens.

    A tile's product is written and read, and the sum in float32 is read and written.

    >>> from training.config.learner import LearnerSettings
    >>> from training.planning.costs import CARDS
    >>> from training.planning.shapes import KNOWN
    >>> round(tile_seconds(Setup(KNOWN["Qwen3.5-9B"], LearnerSettings(zero_stage=3), 4, 8192), CARDS["a100-80"], 75_000), 2)
    0.21
    """
    if not setup.head or setup.learner.lora:
        return 0
    tiles = tokens * setup.shape.vocabulary / TILE
    return tiles * (8 + 2 * setup.bytes_per_weight) * head_parameters(setup.shape) / card.bandwidth


def loading_seconds(setup: Setup) -> float:
    """Return the seconds in which the model is read and hashed, before the first step.

    >>> from training.config.learner import LearnerSettings
    >>> from training.planning.costs import CARDS
    >>> from training.planning.shapes import KNOWN
    >>> round(loading_seconds(Setup(KNOWN["Qwen3.5-9B"], LearnerSettings(zero_stage=3), 4, 8192)))
    36
    """
    return setup.total * setup.bytes_per_weight * (1 / DISK_BANDWIDTH + 1 / HASH_BANDWIDTH)


def checkpoint_seconds(setup: Setup) -> float:
    """Return the seconds in which a checkpoint is written, and read again for its manifest, during which nothing is learned.

    >>> from training.config.learner import LearnerSettings
    >>> from training.planning.costs import CARDS
    >>> from training.planning.shapes import KNOWN
    >>> round(checkpoint_seconds(Setup(KNOWN["Qwen3.5-9B"], LearnerSettings(zero_stage=3), 4, 8192)))
    251
    """
    return checkpoint_bytes(setup) * (1 / DISK_BANDWIDTH + 1 / HASH_BANDWIDTH)
