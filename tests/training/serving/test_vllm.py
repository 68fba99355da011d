"""The real model server of the session, as `make run` starts it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.servers import ServedModel
from training.serving import vllm
from training.serving.vllm import ModelServer, on_processor


@pytest.mark.model
def test_it_writes_for_who_has_the_key_and_nobody_else(model_server: ServedModel) -> None:
    asked = {"model": model_server.name, "prompt": "It was a dark night", "max_tokens": 8}
    with httpx.Client(base_url=f"{model_server.url}/v1", timeout=60) as client:
        assert client.post("/completions", json=asked).status_code == 401
        answer = client.post("/completions", json=asked, headers={"Authorization": f"Bearer {model_server.key}"})
    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] > 0


@pytest.mark.model
@pytest.mark.skipif(not on_processor(), reason="on a GPU vLLM is started as it is")
def test_its_processes_leave_the_processor_to_others_while_they_wait(model_server: ServedModel) -> None:
    """Without `training.serving.launch` the scheduler's process takes all of a core to wait for the worker's."""
    [core] = [pid for pid in _family(model_server.pid) if b"EngineCore" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    asked = {"model": model_server.name, "prompt": "It was", "max_tokens": 600, "ignore_eos": True}
    headers = {"Authorization": f"Bearer {model_server.key}"}
    used, began = _seconds_of(core), time.monotonic()
    httpx.post(f"{model_server.url}/v1/completions", json=asked, headers=headers, timeout=120).raise_for_status()
    assert _seconds_of(core) - used < 0.75 * (time.monotonic() - began)


@pytest.mark.processes
@pytest.mark.skipif(not on_processor(), reason="on a GPU vLLM is started as it is")
def test_its_processes_are_forked_only_if_the_environment_says_so() -> None:
    code = """
import importlib, os
os.environ.pop("VLLM_WORKER_MULTIPROC_METHOD", None)
from training.serving import launch
from vllm.utils.system_utils import get_mp_context
assert launch.engines.get_mp_context is launch.multiproc_executor.get_mp_context is get_mp_context, "nothing is said"
for method in ("spawn", "fork"):
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = method
    importlib.reload(launch)
    for module in (launch.engines, launch.multiproc_executor):
        assert (module.get_mp_context is get_mp_context) == (method == "spawn")
        assert module.get_mp_context().get_start_method() == method
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.model
def test_a_crowd_of_prompts_with_seeds(model_server: ServedModel) -> None:
    """More than a step can hold, so that some are read in several. Without `training.serving.launch` it ends all of vLLM."""
    headers = {"Authorization": f"Bearer {model_server.key}"}
    limits = httpx.Limits(max_connections=48)

    async def ask(client: httpx.AsyncClient, seed: int) -> int:
        prompt = f"The {seed} lamps of the harbour were lit at six, and nobody came up the stairs that night. " * 20
        asked = {"model": model_server.name, "prompt": prompt, "max_tokens": 2, "seed": seed}
        return (await client.post("/v1/completions", json=asked, headers=headers)).status_code

    async def crowd() -> list[int]:
        async with httpx.AsyncClient(base_url=model_server.url, timeout=120, limits=limits) as client:
            return await asyncio.gather(*(ask(client, seed) for seed in range(48)))

    assert asyncio.run(crowd()) == [200] * 48


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _family(int(child)))]


def _seconds_of(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_the_key_is_not_on_the_command_line() -> None:
    server = ModelServer("demo/model", "demo/model")
    assert server.key not in " ".join(server.command())
    assert server.environment()["VLLM_API_KEY"] == server.key


def test_other_secrets_stay_away_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "EMAIL_URL"):
        monkeypatch.setenv(name, "secret")
    assert "secret" not in ModelServer("demo/model", "demo/model").environment().values()


def test_not_ready_is_not_an_error() -> None:
    assert not ModelServer("demo/model", "demo/model").ready()


@pytest.mark.parametrize(
    ("flags", "on_processor", "layers", "expected"),
    [
        ("avx2 fma", True, "full_attention", "float32"),
        ("avx512f avx512_bf16", True, "full_attention", "bfloat16"),
        ("avx2 fma", True, "linear_attention", "bfloat16"),
        ("avx2 fma", True, None, "bfloat16"),
        ("avx2 fma", False, "full_attention", "bfloat16"),
    ],
    ids=["it does not know bfloat16", "it does", "layers with a state", "a name of a hub", "a GPU"],
)
def test_a_processor_computes_in_what_it_knows(
    flags: str, on_processor: bool, layers: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    monkeypatch.setattr(vllm, "PROCESSOR", tmp_path / "cpuinfo")
    monkeypatch.setattr(vllm, "on_processor", lambda: on_processor)
    if layers is not None:
        (tmp_path / "config.json").write_text(json.dumps({"layer_types": [layers]}))
    assert vllm.precision(str(tmp_path)) == expected


@pytest.mark.model
def test_its_sockets_are_in_a_folder_of_its_own(model_server: ServedModel) -> None:
    """vLLM removes none, so the guard removes the folder; in that for temporary files each start left some."""
    variables = dict(
        one.split("=", 1) for one in Path(f"/proc/{model_server.pid}/environ").read_text().split("\0") if "=" in one
    )
    folder = Path(variables[vllm.SOCKETS])
    assert folder.name.startswith("longhand-")
    found = [path for path in folder.iterdir() if path.is_socket()]
    assert found
    assert all(len(str(path)) <= 107 for path in found)
