"""A follower and the processes of its run: one follower at a time, and one training."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from training.common.errors import MendableError
from workers.jobs.runs import follow, only_one, stages
from workers.jobs.runs.follow import Follower
from workers.jobs.runs.results import outcome
from workers.lease import Lease, Lost
from writer.studio.models import Run, RunState

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


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MendableError("No row passed the checks."), "No row passed the checks."),
        (OSError(28, "No space left on device"), "There is no space left to write in "),
        (KeyError("rows"), "An unexpected error occurred while its result was stored; see follower.log in its folder."),
    ],
)
def test_a_result_that_cannot_be_stored_ends_the_run(
    follower: Follower, error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an end of the run, the next follower would meet the same error, and so on for ever."""
    ends: list[tuple[str, str]] = []

    def register(*_: object) -> None:
        raise error

    follower.run = Run(pk=7, recipe="violations")
    follower.lease = Lease(follower.run, 1, timedelta(seconds=30))
    outcome(follower.run, follower.folder).mkdir()
    monkeypatch.setattr(follow, "register", register)
    monkeypatch.setattr(follow, "kill", lambda _: True)
    monkeypatch.setattr(follower, "_beat", lambda: None)
    monkeypatch.setattr(follower, "_end", lambda *how: ends.append(how))
    with pytest.raises(Lost):
        follower._ended()
    [(state, problem)] = ends
    assert state == RunState.FAILED
    assert problem.startswith(said)
