"""A follower and the processes of its run: one follower at a time, and one training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from workers.jobs.runs import follow, only_one, stages
from workers.jobs.runs.follow import Follower
from writer.studio.models import Run

HOLD = """
import fcntl, os, sys, time
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
file.write(str(os.getpid()))
file.flush()
print("held", flush=True)
time.sleep(600)
"""


@pytest.mark.processes
@pytest.mark.parametrize(
    ("command", "killed"),
    [("manage.py follow_run 7", True), ("-m workers.jobs.runs.follow 7", True), ("another program", False)],
)
def test_a_frozen_follower_is_killed_of_an_earlier_version_too(
    command: str, killed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(only_one, "TRIES", 20 if killed else 2)
    argv = [sys.executable, "-c", HOLD, str(tmp_path / ".follower"), *command.split()]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        try:
            assert holder.stdout.readline() == b"held\n"
            if killed:
                with only_one.only_one(tmp_path, lambda: True):
                    assert holder.wait(5) == -9
            else:
                with pytest.raises(SystemExit), only_one.only_one(tmp_path, lambda: True):
                    pass
                assert holder.poll() is None
        finally:
            holder.kill()


def test_a_stage_begins_again_when_the_last_process_of_the_one_before_is_gone(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel may hold a process for longer than `kill` waits; beside it the new one would end with "Another process is using ..."."""
    did: list[str] = []
    dies = iter([False, False, True])

    def kill(_: Path) -> bool:
        did.append("kill")
        return next(dies)

    follower.run, follower._rows = Run(pk=7, recipe="violations"), {1}
    monkeypatch.setattr(stages, "withdrawn", lambda *_: True)
    monkeypatch.setattr(follow, "kill", kill)
    monkeypatch.setattr(follower, "_beat", lambda: did.append("beat"))
    monkeypatch.setattr(follower, "_start", lambda: did.append("start"))
    follower._check_consents()
    assert did == ["kill", "beat", "kill", "beat", "kill", "start"]
