"""Runs of recipes one after another in the same processes: `torchrun ... -m tests.oracles.walk FOLDER`. FOLDER/runs.json is a list of [recipe, settings];
FOLDER/sums.json gets what `sum_of_small_gradients` finds for each stage of ZeRO.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch.distributed as dist

from tests.training.learner.test_invariance import learner
from training.common.records import Sample
from training.learner.processes import quiet_libraries, rank
from training.recipes.registry import RECIPES

SMALL = 2.0**-9
"""A number of bfloat16 does not change if this part of it is added."""
MANY = 12


def sum_of_small_gradients(stage: int) -> float:
    """The norm of a step's gradients in bfloat16, over that of one text on the first process: the step has that text, and small parts of the same
    gradient on both processes in more micro-batches. Without loss it is 1 + 2 MANY SMALL."""
    one = learner("qwen3", precision="bfloat16", zero_stage=stage, clip_norm=1e6)
    text = Sample.from_lists(list(range(5, 25)), [1.0] * 20)

    def norm(small: float, divide: float) -> float:
        for number in range(MANY + 1):
            for _, batch in one.split_across_ranks([(text,)] * dist.get_world_size(), last=number == MANY):
                one.backward(one(batch).sum() * (small if number else float(rank() == 0)))
        return one.update(0.0, divide) * divide

    return norm(SMALL, 4.0) / norm(0.0, 1.0)


def main() -> None:
    quiet_libraries()
    dist.init_process_group("gloo")
    folder = Path(sys.argv[1])
    (folder / "sums.json").write_text(json.dumps({stage: sum_of_small_gradients(stage) for stage in (1, 2, 3)}))
    for name, settings in json.loads((folder / "runs.json").read_text()):
        recipe = RECIPES[name]
        print(f"{name} {settings['run_dir']}", flush=True)
        recipe.load()(recipe.settings.model_validate(settings))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
