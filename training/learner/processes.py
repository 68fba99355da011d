"""The processes of a run: rank, device, and collective operations on values.

`torchrun` and `deepspeed` set RANK and WORLD_SIZE; without them there is one process.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist


def _errors_only(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def quiet_libraries() -> None:
    """Silence the messages of transformers and DeepSpeed below errors, since a run logs what matters itself.

    DeepSpeed is silenced by a filter, because it resets its logger's level when it is imported.
    """
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("DeepSpeed").addFilter(_errors_only)
    for module in ("torch", "deepspeed", "transformers", "peft"):
        for category in (FutureWarning, DeprecationWarning, UserWarning):
            warnings.filterwarnings("ignore", category=category, module=rf"{module}(\.|$)")


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def memory() -> float:
    """Return the bytes that this process may count on: its GPU's, or its part of half of the machine's, where servers and the site run too."""
    if torch.cuda.is_available():
        return float(torch.cuda.get_device_properties(device()).total_memory)
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return whole / 2 / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def sum_across_ranks(values: dict[str, float]) -> dict[str, float]:
    """Return the values added up over all processes."""
    if not dist.is_initialized():
        return values
    total = torch.tensor(list(values.values()), dtype=torch.float64, device=device())
    dist.all_reduce(total)
    return dict(zip(values, total.tolist(), strict=True))


def all_gather(own: Any) -> Sequence[Any]:
    """Return the values of all processes, by rank."""
    if not dist.is_initialized():
        return [own]
    found: list[Any] = [None] * world_size()
    dist.all_gather_object(found, own)
    return found


def broadcast(own: Any) -> Any:
    """Return the value of process 0."""
    if not dist.is_initialized():
        return own
    found = [own]
    dist.broadcast_object_list(found, src=0)
    return found[0]


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()
