"""One process or several: who we are among them, and the few things that they say to each other.

`torchrun` and `deepspeed` set RANK and WORLD_SIZE; without them there is one process and nothing to set up.
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
    """What transformers and DeepSpeed tell of themselves is kept from people: a run says in its own words what matters.

    DeepSpeed sets its logger's level when it is imported, so it is a filter that stays. Their errors are shown.
    """
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("DeepSpeed").addFilter(_errors_only)
    for module in ("torch", "deepspeed", "transformers", "peft"):
        for category in (FutureWarning, DeprecationWarning, UserWarning):
            warnings.filterwarnings("ignore", category=category, module=rf"{module}(\.|$)")


def world() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def sums(values: dict[str, float]) -> dict[str, float]:
    """The values of all processes, added up."""
    if not dist.is_initialized():
        return values
    total = torch.tensor(list(values.values()), dtype=torch.float64, device=device())
    dist.all_reduce(total)
    return dict(zip(values, total.tolist(), strict=True))


def everybody(own: Any) -> Sequence[Any]:
    """What each process has, by rank, for all to see."""
    if not dist.is_initialized():
        return [own]
    found: list[Any] = [None] * world()
    dist.all_gather_object(found, own)
    return found


def from_first(own: Any) -> Any:
    """What process 0 has, for all."""
    if not dist.is_initialized():
        return own
    found = [own]
    dist.broadcast_object_list(found, src=0)
    return found[0]


def wait_for_all() -> None:
    if dist.is_initialized():
        dist.barrier()
