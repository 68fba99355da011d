"""The real vLLM beside the learner, for models whose names or heads differ: base, adapter, and weights handed over in place."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from tests.training.learner import kinds
from tests.training.learner.test_export import moved
from training.config.learner import Lora
from training.learner.check import auto_class
from training.learner.names import adapter_weights, source_weights
from training.learner.probe import eager_outputs, fixed_text, learner_logprobs
from training.rollouts.client import TokenClient
from training.rollouts.sync import Adapter, SharedMemory
from training.serving.vllm import ModelServer

ROOT = Path(__file__).parents[3]
TEXT = fixed_text(300, 100)
LORA = Lora(rank=4, alpha=8)


class Server(ModelServer):
    def environment(self) -> dict[str, str]:
        """As the rollout server's; and a stand-in for torchvision, whose names vLLM imports for Qwen3.5."""
        more = {"VLLM_SERVER_DEV_MODE": "1", "PYTHONPATH": str(ROOT / "tests" / "standins")}
        return super().environment() | more | {"VLLM_WORKER_MULTIPROC_METHOD": "fork"}


# vLLM computes recurrent layers in bfloat16 only (stack.md)
@pytest.mark.soak
@pytest.mark.processes
@pytest.mark.parametrize(
    ("kind", "dtype", "mean"), [("llama", "float32", 1e-4), ("gemma3", "float32", 1e-4), ("qwen3_5", "bfloat16", 0.05)]
)
def test_what_a_server_gets_is_what_it_computes(kind: str, dtype: str, mean: float, tmp_path: Path) -> None:
    """Llama and Gemma 3 with tied heads, Gemma 3 and Qwen3.5 with the names of models that read pictures, too."""
    source = kinds.save(kind, tmp_path / "source", **({"tie_word_embeddings": True} if kind == "llama" else {}))
    server = Server(str(source), "model", context=256, adapters=8, dtype=dtype)
    adapted, whole = moved(source, LORA), moved(source, None)
    base = eager_outputs(auto_class(reward=False).from_pretrained(source).eval(), TEXT)

    async def apart() -> list[tuple[float, float]]:
        """Mean differences of the server: from the learner, and from the base."""
        found = []
        async with TokenClient(server.url, server.key, "model", seconds=400) as client:
            own = {name.removeprefix("model."): one for name, one in adapted.engine.weights().items()}
            adapter, memory = Adapter(LORA, source), SharedMemory()
            adapter.put(adapter_weights(own, adapted.model))
            await adapter.load(client)
            own = {name.removeprefix("model."): one for name, one in whole.engine.weights().items()}
            memory.put(source_weights(own, whole.model))
            for sync, learner in ((adapter, adapted), (memory, whole)):
                model = await sync.load(client)
                served = await client.prompt_logprobs(TEXT.tolist(), model=model)
                from_learner, from_base = (
                    np.abs(served - one).mean() for one in (learner_logprobs(learner, TEXT), base)
                )
                found.append((float(from_learner), float(from_base)))
                sync.close()
        return found

    with (tmp_path / "log").open("wb") as log:
        server.start(stdout=log)
        try:
            server.wait_ready()
            found = asyncio.run(apart())
        finally:
            server.stop()
    for from_learner, from_base in found:
        assert from_learner < mean
        assert from_base > 5 * mean
        assert from_base > 0.1
