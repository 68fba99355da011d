"""Loads a model in parts: under ZeRO-3 each of several processes keeps its part of a weight as soon as the weight is read.

transformers reads a weight, puts it into its module and reads the next. Its own way with DeepSpeed reads all files before, and maps them into
memory. So here its loader is told to read one weight at a time, and after each the weight is divided. No process ever has more than its part, one
weight, and what it is read from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from transformers import core_model_loading, modeling_utils

from training.config.learner import LearnerSettings
from training.learner import processes
from training.learner.engine import deepspeed_config, dtype_of, import_deepspeed


@contextmanager
def loaded_in_parts(settings: LearnerSettings) -> Iterator[None]:
    """A context in which `from_pretrained` keeps only this process' part of each weight, if the settings divide weights among processes."""
    if settings.zero_stage != 3 or processes.world_size() == 1 or not dist.is_initialized():
        yield
        return
    deepspeed = import_deepspeed()
    divide = deepspeed.zero.Init(config_dict_or_path=deepspeed_config(settings), dtype=dtype_of(settings))
    set_weight = core_model_loading.set_param_for_module

    def set_part(model: torch.nn.Module, name: str, *args: Any) -> None:
        set_weight(model, name, *args)
        module, _, own = name.rpartition(".")
        weight = getattr(model.get_submodule(module), own, None)
        if isinstance(weight, torch.nn.Parameter) and weight.device.type != "meta":
            divide._convert_to_zero_parameters([weight])  # noqa: SLF001

    with (
        patch.object(core_model_loading, "set_param_for_module", set_part),
        patch.object(modeling_utils, "safe_open", partial(_read, modeling_utils.safe_open)),
        patch.dict(os.environ, HF_DEACTIVATE_ASYNC_LOAD="1"),
    ):
        yield


def _read(safe_open: Any, file: str, **given: Any) -> Any:
    """Open a file without mapping it into memory, of which all that was read would stay."""
    return safe_open(file, **given | {"backend": "pread"})
