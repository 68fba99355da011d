"""The real vLLM beside the learner, for each family that is trained: base, adapter, weights handed over in place, and the result of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.families import FAMILIES, Family, expected
from tests.training.learner.test_export import exported, moved
from training.config.learner import Lora
from training.learner.check import auto_class
from training.learner.engine import Learner
from training.learner.names import adapter_weights, source_weights
from training.learner.probe import Outputs, Tokens, eager_outputs, fixed_text, learner_logprobs
from training.rollouts.client import TokenClient
from training.rollouts.sync import Adapter, SharedMemory
from training.serving.vllm import ModelServer, precision

ROOT = Path(__file__).parents[3]
TRAINED = [one for one in FAMILIES if expected("served", one).result == "holds"]
pytestmark = [pytest.mark.soak, pytest.mark.processes, pytest.mark.parametrize("family", TRAINED, ids=str)]
LORA = Lora(rank=4, alpha=16)
BOUNDS = {"float32": (1e-4, 1e-4), "bfloat16": (0.005, 0.02)}
"""Mean and most in nats a token, by the precision of the server: it computes recurrent layers in bfloat16 only (stack.md)."""


class Server(ModelServer):
    def environment(self) -> dict[str, str]:
        """As the rollout server's; and a stand-in for torchvision, whose names vLLM imports for Qwen3.5."""
        more = {"VLLM_SERVER_DEV_MODE": "1", "PYTHONPATH": str(ROOT / "tests" / "standins")}
        return super().environment() | more | {"VLLM_WORKER_MULTIPROC_METHOD": "fork"}


@contextmanager
def served(folder: Path, log: Path) -> Iterator[Server]:
    server = Server(str(folder), "model", context=256, adapters=8, dtype=precision(str(folder), "float32"))
    with log.open("wb") as file:
        server.start(stdout=file)
        try:
            server.wait_ready()
            yield server
        finally:
            server.stop()


def client_of(server: Server) -> TokenClient:
    return TokenClient(server.url, server.key, "model", seconds=400)


def base_outputs(source: Path, text: Tokens) -> Outputs:
    return eager_outputs(auto_class(reward=False).from_pretrained(source).eval(), text)


def assert_equal(served: Outputs, learned: Outputs, base: Outputs, precision: str) -> None:
    """Raise AssertionError unless what is served is what was learned, and not the base."""
    mean, most = BOUNDS[precision]
    difference = np.abs(served - learned)
    assert difference.mean() < mean
    assert difference.max() < most
    assert np.abs(served - base).mean() > max(5 * mean, 0.1)


def sent(learner: Learner) -> dict[str, torch.Tensor]:
    return {name.removeprefix("model."): one for name, one in learner.engine.weights().items()}


@pytest.mark.table("adapter", "hand-over")
def test_what_a_server_gets_is_what_it_computes(family: Family, tmp_path: Path) -> None:
    """Tied heads are among the families, and the names of models that read pictures, too."""
    source = family.save(tmp_path / "source")
    text = fixed_text(family.vocabulary, 100)
    adapted, whole = moved(source, LORA), moved(source, None, by=0.03)
    base = base_outputs(source, text)

    async def compare(server: Server) -> None:
        async with client_of(server) as client:
            adapter, memory = Adapter(LORA, source), SharedMemory()
            adapter.put(adapter_weights(sent(adapted), adapted.model))
            memory.put(source_weights(sent(whole), whole.model))
            for sync, learner in ((adapter, adapted), (memory, whole)):
                model = await sync.load(client)
                answer = await client.prompt_logprobs(text.tolist(), model=model)
                assert_equal(answer, learner_logprobs(learner, text), base, server.dtype)
                sync.close()

    with served(source, tmp_path / "log") as server:
        asyncio.run(compare(server))


@pytest.mark.table("served")
def test_the_result_of_a_run_is_what_a_server_computes(family: Family, tmp_path: Path) -> None:
    source = family.save(tmp_path / "source")
    text = fixed_text(family.vocabulary, 100)
    learner = moved(source, None, by=0.03)
    result = exported(learner, source, tmp_path)

    async def logprobs(server: Server) -> Outputs:
        async with client_of(server) as client:
            return await client.prompt_logprobs(text.tolist(), model="model")

    with served(result, tmp_path / "log") as server:
        answer = asyncio.run(logprobs(server))
    assert_equal(answer, learner_logprobs(learner, text), base_outputs(source, text), server.dtype)
