"""Runs of recipes one after another in the same processes: `torchrun ... -m tests.oracles.walk LIST`, where LIST is a JSON file of [recipe, settings]."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch.distributed as dist

from training.learner.processes import quiet_libraries
from training.recipes.registry import RECIPES


def main() -> None:
    quiet_libraries()
    dist.init_process_group("gloo")
    for name, settings in json.loads(Path(sys.argv[1]).read_text()):
        recipe = RECIPES[name]
        print(f"{name} {settings['run_dir']}", flush=True)
        recipe.load()(recipe.settings.model_validate(settings))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
