from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers.processes import kill, processes_of, tag

NAMES_ITSELF = """
import setproctitle, time
setproctitle.setproctitle("VLLM::EngineCore")
print("named", flush=True)
time.sleep(600)
"""


@pytest.mark.processes
def test_one_that_named_itself(tmp_path: Path) -> None:
    """vLLM's processes do; what is left of them after their server was killed must still be found."""
    environment = os.environ | tag(tmp_path)
    other = os.environ | tag(tmp_path / "other")
    command = [sys.executable, "-c", NAMES_ITSELF]
    with (
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process,
        subprocess.Popen(command, env=other, stdout=subprocess.PIPE) as stranger,
    ):
        try:
            for one in (process, stranger):
                assert one.stdout is not None
                assert one.stdout.readline() == b"named\n"
            assert [found.pid for found in processes_of(tmp_path)] == [process.pid]
            assert kill(tmp_path)
            assert stranger.poll() is None
        finally:
            process.kill()
            stranger.kill()
