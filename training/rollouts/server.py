"""The vLLM server that writes a run's rollouts: one that the run starts and stops, or one that somebody else runs."""

from __future__ import annotations

import os
from typing import IO

from training.common.errors import MendableError
from training.common.heap import UNBROKEN
from training.rollouts.policy import Server
from training.rollouts.settings import GroupSettings
from training.serving.http import ServerFailed, models_of
from training.serving.process import CannotStart
from training.serving.vllm import ModelServer, on_processor, precision

NAME = "model"
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks of adapters that a server can be started for (vllm/config/lora.py)."""
OF_TORCHRUN = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_NAME", "ROLE_WORLD_SIZE",
    "MASTER_ADDR", "MASTER_PORT",
)  # fmt: skip
"""Variables that make a process one of several that learn. The server must not have them: its own processes would wait for the launcher's store, and
whatever stops the run's ranks would stop the server, too."""


class OwnServer(ModelServer):
    """A server that ends with the run's process. It takes token ids, and weights while it runs, from whoever has its key."""

    def __init__(self, settings: GroupSettings, context: int) -> None:
        lora = settings.learner.lora
        super().__init__(
            str(settings.model),
            NAME,
            context=context,
            adapters=next(rank for rank in RANKS if rank >= lora.rank) if lora else 0,
            dtype=precision(str(settings.model), settings.learner.precision.replace("auto", "")),
        )
        self._scaled = settings.sampling.temperature != 1
        self._given, self._log = settings.rollouts, settings.run_dir / "rollout-server.log"
        judges = (settings.rewards.judge, settings.rewards.ranges, settings.guards.judge)
        self._keys = {one.key_variable for one in judges if one is not None}

    def command(self) -> list[str]:
        argv = [*super().command(), "--enable-scale-out"]
        if self._scaled:  # log-probabilities are those of the sampled distribution, after the temperature
            argv += ["--logprobs-mode", "processed_logprobs"]
        if not on_processor():
            argv += ["--tensor-parallel-size", str(self._given.tensor_parallel)]
            argv += ["--gpu-memory-utilization", str(self._given.gpu_memory)]
        if self._given.sync == "nccl":
            argv += ["--weight-transfer-config", '{"backend":"nccl"}']
        return argv

    def environment(self) -> dict[str, str]:
        """The run's environment, with the variable by which a studio finds its processes; without those of a rank, the learner's heap, and the judges' keys."""
        left_out = {*OF_TORCHRUN, *UNBROKEN, *self._keys}
        given = super().environment() | {"VLLM_SERVER_DEV_MODE": "1"}
        return {
            name: value
            for name, value in given.items()
            if name not in left_out and not name.startswith("TORCHELASTIC_")
        }

    def begin(self) -> None:
        """Start or restart it, and wait until it answers. Raises MendableError where it does not come up."""
        self.stop()
        with self._log.open("ab") as log:
            self._start(log)

    def _start(self, log: IO[bytes]) -> None:
        self.start(stdout=log)
        try:
            self.wait_ready()
        except CannotStart as error:
            raise MendableError(f"The rollout server did not come up: {error} They are in {self._log}.") from None

    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None


class GivenServer:
    """At an address of the settings. It must run with --enable-scale-out and VLLM_SERVER_DEV_MODE=1, with adapters where the run has one, and with
    --logprobs-mode processed_logprobs where the temperature is not 1."""

    dtype = ""

    def __init__(self, url: str, key_variable: str) -> None:
        self.url, self.key = url.rstrip("/"), os.environ.get(key_variable, "")
        try:
            self.served_as = models_of(self.url, self.key, seconds=30)[0]
        except (ServerFailed, IndexError) as error:
            raise MendableError(
                f"The rollout server at {url} does not say what it serves ({error}): correct `rollouts.url` in the settings, or put its key into {key_variable}."
            ) from None

    def begin(self) -> None:
        """Do nothing: the run does not own it."""

    def alive(self) -> bool:
        return True

    def stop(self) -> None:
        """Do nothing: the run does not own it."""


def make_servers(settings: GroupSettings, context: int) -> list[Server]:
    """The servers at the addresses of the settings, or one of the run's own."""
    given = settings.rollouts
    return [GivenServer(url, given.key_variable) for url in given.urls] or [OwnServer(settings, context)]
