"""The recipe on the demo model with a real vLLM: it learns, server and learner agree, and after a kill no group counts twice."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests.servers import DEMO_MODEL
from tests.training import models
from tests.training.conftest import ROOT
from tests.training.recipes.runs import metric_by_step, weights
from tests.workers.serving.adapted import adapted
from training.common.records import Sample
from training.common.text import story_request
from training.learner.engine import Learner
from training.learner.models import load_model
from training.learner.probe import fixed_text, learner_logprobs
from training.recipes.grpo import GrpoSettings
from training.rollouts.policy import Policy
from training.rollouts.records import Logprobs, Tokens
from training.rollouts.server import OwnServer
from training.rollouts.sync import Adapter, LogprobMismatch, SharedMemory, server_weights
from training.serving.vllm import importable

pytestmark = [
    pytest.mark.model,
    pytest.mark.xdist_group("rollout server"),
    pytest.mark.skipif(
        not importable(), reason="vLLM is not installed here (requirements/cpu.txt or requirements/gpu.txt)"
    ),
]
BOUND = 1e-3
"""Nats a token, on average, between vLLM and the learner, both in float32."""


def data(folder: Path, count: int = 4) -> Path:
    """Requests for very short stories, half of them with a human one."""
    lines = []
    for number in range(count):
        asked = [dict(one) for one in story_request(title=f"The lamp, {number}", premise="A keeper alone.", target=30)]
        human = (
            [{"role": "assistant", "content": f"The lamp was lit at {number}. Nobody came up the stairs that night."}]
            if number % 2
            else []
        )
        lines.append({"messages": [*asked, *human]})
    return models.write_lines(folder / "data.jsonl", lines)


def make(folder: Path, **changes: Any) -> GrpoSettings:
    learner = {
        "precision": "float32",
        "learning_rate": 1e-4,
        "threads": 1,
        "gradient_checkpointing": False,
    } | changes.pop("learner", {})
    given: dict[str, Any] = {
        "run_dir": folder / "run", "model": DEMO_MODEL, "data": (data(folder),), "context": 256, "steps": 3, "batch": 2, "group": 3,
        "checkpoint_every": 1, "human": {"ramp": 0}, "sampling": {"most_tokens": 48}, "learner": learner, "rollouts": {"logprob_tolerance": BOUND},
        "rewards": {"weights": {"range": 1.0, "repetition": -1.0}, "min_std": 0.0}, "guards": {"length_ratio": None, "cut": None},
    }  # fmt: skip
    return GrpoSettings.model_validate(given | changes)


def command(settings: GrpoSettings) -> list[str]:
    path = settings.run_dir.with_suffix(".json")
    path.write_text(settings.model_dump_json())
    return [sys.executable, "-m", "training", "grpo", str(path)]


def start(settings: GrpoSettings) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command(settings), cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    said = process.stdout.read()
    assert process.wait(60) == 0, said
    return said


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """A server that the runs of these tests use but do not start. It is started as for a temperature, and gives at 1 what others give."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "run").mkdir()
    made = OwnServer(make(folder, learner={"lora": {"rank": 4, "alpha": 8}}, sampling={"temperature": 0.7}), 256)
    made.begin()
    yield made
    made.stop()


@pytest.fixture
def given(server: OwnServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("ROLLOUT_KEY", server.key)
    return {"url": server.url, "logprob_tolerance": BOUND}


def moved(settings: GrpoSettings, scale: float = 0.02) -> Learner:
    """A learner whose weights, or adapters, differ from those that the server loaded."""
    made = Learner(load_model(settings.model, settings.learner), settings.learner, packed=True)
    torch.manual_seed(1)
    with torch.no_grad():
        for one in made.model.parameters():
            if one.requires_grad:
                one += scale * torch.randn_like(one)
    return made


def greedy(learner: Learner, prompt: list[int], count: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(count):
        text = np.asarray(tokens, np.int32)
        hidden = learner.model.get_decoder()(
            input_ids=torch.from_numpy(text[None]).long(), use_cache=False
        ).last_hidden_state[0, -1]
        tokens.append(int((learner.model.lm_head.weight @ hidden).argmax()))
    return tokens[len(prompt) :]


def learned(learner: Learner, prompt: list[int], answer: Tokens, temperature: float) -> Logprobs:
    """The learner's log-probabilities of the answer's tokens at a temperature."""
    whole = np.asarray([*prompt, *answer], np.int32)
    sample = Sample(whole, np.ones(len(whole), dtype=np.float32))
    ((_, _, found),) = learner.infer([(sample,)], temperature)
    return found.numpy()[len(prompt) - 1 :]


def test_it_continues_an_adapter(given: dict[str, Any], tmp_path: Path) -> None:
    """The first stories are written with it, and what the policy moves away from is the model with it."""
    begun = adapted(tmp_path / "begun") / "adapter"
    settings = make(tmp_path, rollouts=given, adapter=begun, steps=2)
    finish(start(settings))
    run = settings.run_dir
    assert max(metric_by_step(run, "server_apart").values()) < BOUND
    assert metric_by_step(run, "apart")[1] < BOUND
    assert abs(metric_by_step(run, "divergence")[1]) < BOUND
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (begun, run / "adapter"))
    assert before.keys() == after.keys()
    moved = max((before[name] - one).abs().max().item() for name, one in after.items())
    assert 0 < moved < 1e-2, "it learned on from there"


@pytest.mark.parametrize(
    "lora", [{"rank": 4, "alpha": 8}, None]
)  # adapters first, here and above, because the other test changes the weights below them
def test_after_a_sync_server_and_learner_agree(server: OwnServer, tmp_path: Path, lora: dict[str, int] | None) -> None:
    settings = make(tmp_path, learner={"lora": lora})
    learner = moved(settings)
    vocabulary = json.loads((DEMO_MODEL / "config.json").read_text())["vocab_size"]
    fixed = fixed_text(vocabulary, 128)
    sync = Adapter(settings.learner.lora, DEMO_MODEL) if settings.learner.lora else SharedMemory()
    prompt = [int(token) for token in fixed[:20]]

    async def both() -> None:
        async with Policy(server, sync, seconds=120, tolerance=BOUND, restarts=0, say=print) as policy:
            policy.put(server_weights(learner.engine.weights(), settings), fixed, learner_logprobs(learner, fixed), 1)
            await policy.load()
            assert policy.logprob_difference < BOUND
            if lora:  # a server that read it again in each step would fail
                (sync._folder.path / "adapter_model.safetensors").unlink()
            sampled, version = await policy.generate(prompt, {"temperature": 1.0, "seed": 7, "max_tokens": 60})
            assert version == 1
            assert np.abs(learned(learner, prompt, sampled.tokens, 1.0) - sampled.logprobs).mean() < BOUND
            sampled, _ = await policy.generate(prompt, {"temperature": 0.7, "seed": 7, "max_tokens": 60})
            assert np.abs(learned(learner, prompt, sampled.tokens, 0.7) - sampled.logprobs).mean() < BOUND
            assert np.abs(learned(learner, prompt, sampled.tokens, 1.0) - sampled.logprobs).mean() > 10 * BOUND
            best, _ = await policy.generate(
                prompt, {"temperature": 0.0, "seed": 0, "max_tokens": 24, "ignore_eos": True}
            )
            if not lora:
                with torch.no_grad():
                    assert best.tokens.tolist() == greedy(learner, prompt, 24)
            # a learner with other weights does not agree with the server
            policy.put(
                server_weights(moved(settings, 0.05).engine.weights(), settings),
                fixed,
                learner_logprobs(learner, fixed),
                2,
            )
            with pytest.raises(LogprobMismatch):
                await policy.load()

    try:
        asyncio.run(both())
    finally:
        sync.close()


def test_it_learns_and_logs_its_metrics(given: dict[str, Any], tmp_path: Path) -> None:
    settings = make(tmp_path, rollouts=given)
    said = finish(start(settings))
    assert "4 requests, 2 of them with a human story" in said
    run = settings.run_dir
    assert (run / "model" / "model.safetensors").exists()
    differences = metric_by_step(run, "apart")
    assert list(differences) == [1, 2, 3]
    assert (
        max(differences.values()) < BOUND
    )  # server and learner give sampled tokens the same probability, after each step
    assert max(metric_by_step(run, "server_apart").values()) < BOUND
    for measure in (
        "reward",
        "reward_range",
        "reward_repetition",
        "entropy",
        "length_ratio",
        "repeated",
        "deviation",
        "seconds_sync",
    ):
        assert len(metric_by_step(run, measure)) == 3, measure
    assert metric_by_step(run, "human_advantage")
    assert list(metric_by_step(run, "divergence")) == [1, 3]
    assert abs(metric_by_step(run, "divergence")[1]) < BOUND  # the weights are the initial ones
    assert weights(run / "model")["lm_head.weight"].shape == weights(DEMO_MODEL)["lm_head.weight"].shape
    moved = max(
        (one.float() - weights(DEMO_MODEL)[name].float()).abs().max().item()
        for name, one in weights(run / "model").items()
    )
    assert moved > 1e-5
    for step in range(3):
        lines = [json.loads(line) for line in (run / "rollouts" / f"step-{step:05}.jsonl").read_text().splitlines()]
        stories = [tuple(line["story"]) for line in lines if "story" in line]
        assert len(stories) == len(set(stories))
        assert {line["policy"] for line in lines if "story" in line} == {step}


@pytest.mark.soak
def test_a_replayed_run_gives_the_same_result(given: dict[str, Any], tmp_path: Path) -> None:
    first = make(tmp_path, rollouts=given)
    finish(start(first))
    again = make(tmp_path, run_dir=tmp_path / "again", replay=first.run_dir / "rollouts")
    finish(start(again))
    assert metric_by_step(again.run_dir) == pytest.approx(metric_by_step(first.run_dir), abs=1e-6)
    for name, one in weights(again.run_dir / "model").items():
        torch.testing.assert_close(one, weights(first.run_dir / "model")[name], rtol=0, atol=1e-5)


def test_stories_are_written_a_step_ahead(given: dict[str, Any], tmp_path: Path) -> None:
    settings = make(tmp_path, rollouts=given | {"max_staleness": 1})
    finish(start(settings))
    for step in range(3):
        lines = [
            json.loads(line)
            for line in (settings.run_dir / "rollouts" / f"step-{step:05}.jsonl").read_text().splitlines()
        ]
        assert {line["policy"] for line in lines if "story" in line} == {max(0, step - 1)}
    assert metric_by_step(settings.run_dir, "apart")[1] < BOUND < metric_by_step(settings.run_dir, "apart")[3]


@pytest.mark.soak
def test_a_run_that_is_killed_in_the_middle_of_a_step_resumes(given: dict[str, Any], tmp_path: Path) -> None:
    """The learner is killed while the stories of step 2 are written; those that are complete are not written again."""
    settings = make(tmp_path, rollouts=given, sampling={"most_tokens": 150})
    process = start(settings)
    dump = settings.run_dir / "rollouts" / "step-00001.jsonl"
    end = time.monotonic() + 180
    while not (dump.exists() and '"story"' in dump.read_text()):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    process.kill()
    process.wait()
    before = [line for line in dump.read_text().splitlines() if '"story"' in line]
    said = finish(start(settings))
    assert "Resuming from" in said
    lines = [json.loads(line) for line in dump.read_text().splitlines()]
    stories = [tuple(line["story"]) for line in lines if "story" in line]
    assert len(stories) == len(set(stories))
    assert [line for line in dump.read_text().splitlines() if '"story"' in line][: len(before)] == before
    assert list(metric_by_step(settings.run_dir)) == [1, 2, 3]


@pytest.mark.soak
def test_a_killed_server_is_restarted(tmp_path: Path) -> None:
    """The run's own server is restarted, gets the weights, and does not outlive the run."""
    settings = make(tmp_path, sampling={"most_tokens": 150})
    process = start(settings)
    dump = settings.run_dir / "rollouts" / "step-00001.jsonl"
    end = time.monotonic() + 240
    while not dump.exists():
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.01)
    family = psutil.Process(process.pid).children(recursive=True)
    (front,) = [
        one
        for one in family
        if re.search(r"training\.serving\.launch", " ".join(one.cmdline())) and "--port" in one.cmdline()
    ][:1]
    front.send_signal(signal.SIGKILL)
    said = finish(process)
    assert "The rollout server is unavailable" in said
    assert max(metric_by_step(settings.run_dir, "server_apart").values()) < BOUND
    for one in family:
        assert not one.is_running() or one.status() == psutil.STATUS_ZOMBIE
