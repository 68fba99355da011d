"""Measures what loading a model takes: `torchrun ... -m tests.training.learner.load_parts FOLDER` prints, for each process, its rank, the bytes of
its peak above what it had before, and the sum of all weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch.distributed as dist

from training.config.learner import LearnerSettings
from training.learner.engine import import_deepspeed
from training.learner.models import load_model
from training.learner.processes import quiet_libraries, rank


def status(name: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


def main() -> None:
    quiet_libraries()
    dist.init_process_group("gloo")
    deepspeed = import_deepspeed()
    settings = LearnerSettings(zero_stage=3, precision="float32")
    load_model(Path(sys.argv[2]), settings)  # a tiny one, so that what is loaded with the first model does not count
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = status("VmRSS")
    model = load_model(Path(sys.argv[1]), settings)
    peak = status("VmHWM") - before
    total = 0.0
    for one in model.parameters():
        with deepspeed.zero.GatheredParameters([one]):
            total += one.double().sum().item()
    sys.stdout.write(f"{json.dumps([rank(), peak, total])}\n")  # at once: print writes the end of the line by itself
    sys.stdout.flush()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
