"""Several processes are one: each recipe with DeepSpeed's ZeRO on two processes, beside plain torch in one.

One pair of processes does all runs. GRPO learns from stories and scores of a dump, so that all its runs learn from the same ones.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.oracles.walk import MANY, SMALL
from tests.training import models
from tests.training.conftest import ROOT, made_up_story
from tests.training.recipes.runs import NAMES, Name, command, make_settings, max_difference, metric_by_step
from training.config.recipe import RecipeSettings
from training.recipes.registry import RECIPES
from training.rewards.records import StoryScore
from training.rollouts.records import HUMAN, Dump, Rollout, step_name
from training.test_model.tokenizer import END

STEPS, GROUP, BATCH = 8, 4, 2
STAGES = (1, 2, 3)
LEARNERS: dict[str, dict[str, Any]] = {"all weights": {}, "lora": {"lora": {"rank": 4, "alpha": 8}}}
WIDE = {"intermediate_size": 4096}
"""ZeRO-3 does not shard smaller weights."""


def dump(folder: Path) -> None:
    """Stories of unlike lengths and scores for all steps."""
    end = models.tokenizer().token_to_id(END)
    for step in range(STEPS):
        chance = random.Random(step)
        written = Dump(folder / f"{step_name(step)}.jsonl")
        for number in range(BATCH):
            for story in range(GROUP):
                text = made_up_story(100 * step + 10 * number + story, chance.randrange(1, 6))
                tokens = np.asarray([*models.tokenizer().encode(text).ids, end], np.int32)
                logprobs = np.full(len(tokens), -5.0, np.float32)
                written.add_story((number, story), Rollout(tokens, logprobs, True, text, step))
                written.add_score((number, story), StoryScore({"length": chance.random()}, {}))
            written.add_score((number, HUMAN), StoryScore({"length": chance.random()}, {}))
        written.close()


def settings_of(name: Name, folder: Path, run: str, learner: dict[str, Any]) -> RecipeSettings:
    more: dict[str, Any] = {}
    if name == "grpo":
        if not (folder / "stories").exists():
            dump(folder / "stories")
            models.conversations(folder / "grpo.jsonl", 6)
        more = {
            "batch": BATCH, "group": GROUP, "held_out": (), "human": {"ramp": 0}, "replay": folder / "stories",
            "rewards": {"weights": {"length": 1.0}, "min_std": 0.0}, "guards": {"length_ratio": None, "cut": None},
        }  # fmt: skip
    made: RecipeSettings = make_settings(
        name, folder, run, shape=WIDE, steps=STEPS, checkpoint_every=STEPS, learner=learner, **more
    )
    return made


pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("two processes")]
CASES = [
    pytest.param(name, learner, stage, marks=[] if name == "grpo" else pytest.mark.soak)
    for name in (*NAMES, "grpo")
    for learner in LEARNERS
    for stage in STAGES
]


@pytest.fixture(scope="module")
def walked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes have done the runs of all tests here that are not skipped."""
    folder = tmp_path_factory.mktemp("walk")
    here = [
        one
        for one in request.session.items
        if isinstance(one, pytest.Function) and one.originalname == "test_two_processes_are_one"
    ]
    runs = []
    for one in here:
        if not one.get_closest_marker("skip"):
            case: dict[str, Any] = one.callspec.params
            name, learner, stage = case["name"], case["learner"], case["stage"]
            given = LEARNERS[learner] | {"zero_stage": stage}
            settings = settings_of(name, folder, f"{name}-{learner}-{stage}", given)
            runs.append((name, settings.model_dump(mode="json")))
    (folder / "runs.json").write_text(json.dumps(runs))
    _, environment = command("sft", settings_of("sft", folder, "none", {}))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*torchrun, "-m", "tests.oracles.walk", str(folder)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def alone(walked: Path) -> Callable[[Name, str], Path]:
    """A function that does a run with plain torch, once, and returns its folder."""

    @cache
    def of(name: Name, learner: str) -> Path:
        settings = settings_of(name, walked, f"{name}-{learner}-alone", LEARNERS[learner])
        RECIPES[name].load()(settings)
        return settings.run_dir

    return of


@pytest.mark.parametrize(("name", "learner", "stage"), CASES)
def test_two_processes_are_one(
    name: Name, learner: str, stage: int, walked: Path, alone: Callable[[Name, str], Path]
) -> None:
    two, one = walked / f"{name}-{learner}-{stage}", alone(name, learner)
    for metric in ("loss", "grad_norm"):
        values = metric_by_step(two, metric)
        assert len(values) == STEPS
        assert values == pytest.approx(metric_by_step(one, metric), rel=1e-5, abs=1e-6)
    assert max_difference(two / "model", one / "model") < 1e-5


def test_small_gradients_in_bfloat16_are_not_lost(walked: Path) -> None:
    sums = json.loads((walked / "sums.json").read_text())
    assert sums == pytest.approx(dict.fromkeys(map(str, STAGES), 1 + 2 * MANY * SMALL), rel=1e-5)
