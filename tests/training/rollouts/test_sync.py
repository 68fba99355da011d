"""Transferred weights leave no files, however the learner ends; and differing log-probabilities are detected."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import ROOT
from training.rollouts import sync
from training.rollouts.sync import LogprobMismatch, SharedFolder, check_logprobs

AT_WORK = """
import sys, time
from pathlib import Path
from training.rollouts import sync
sync.SHARED = Path(sys.argv[1])
folder = sync.SharedFolder()
(folder.path / "model.safetensors").write_bytes(b"weights")
print(folder.path, flush=True)
time.sleep(60)
"""


@pytest.mark.processes
def test_what_a_killed_learner_left_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "SHARED", tmp_path)
    learner = subprocess.Popen([sys.executable, "-c", AT_WORK, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert learner.stdout
        theirs = Path(learner.stdout.readline().strip())
        long_ago = time.time() - 3600
        os.utime(theirs, (long_ago, long_ago))
        SharedFolder().close()
        assert (theirs / "model.safetensors").exists()  # it is at work
        learner.send_signal(signal.SIGKILL)
        learner.wait(10)
        ours = SharedFolder()
        assert not theirs.exists()
        assert [*tmp_path.iterdir()] == [ours.path]
        ours.close()
        assert [*tmp_path.iterdir()] == []
    finally:
        learner.kill()
        learner.wait()


def test_a_folder_that_was_just_made_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process may not have locked it yet."""
    monkeypatch.setattr(sync, "SHARED", tmp_path)
    (tmp_path / f"{sync.PREFIX}new").mkdir()
    SharedFolder().close()
    assert (tmp_path / f"{sync.PREFIX}new").is_dir()


def test_what_is_no_number_is_a_mismatch() -> None:
    same = np.full(4, -1.0, np.float32)
    assert check_logprobs(same, same, 1e-3) == 0.0
    assert check_logprobs(same + np.float32(0.01), same, 0.02) == pytest.approx(0.01, rel=1e-4)
    for wrong in (same + 1, np.full(4, np.nan, np.float32)):
        with pytest.raises(LogprobMismatch):
            check_logprobs(wrong.astype(np.float32), same, 0.02)
