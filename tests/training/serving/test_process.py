from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from tests.processes import mentioning, wait_for
from training.serving.process import CannotStart, Process, alive

pytestmark = pytest.mark.processes

LEAVES_CHILDREN = """
import subprocess, sys, time
for _ in range(2):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", sys.argv[1]], start_new_session=True)
print("ready", flush=True)
time.sleep(600)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""


def start(code: str, *arguments: str, grace: float = 5.0) -> Process:
    process = Process([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, grace=grace)
    assert process.output is not None
    assert process.output.readline() == b"ready\n"
    return process


def test_exit_status_and_output_come_through() -> None:
    process = Process([sys.executable, "-c", "print('hello'); raise SystemExit(7)"], stdout=subprocess.PIPE)
    assert process.output is not None
    assert process.output.read() == b"hello\n"
    assert process.wait(10) == 7
    process.stop()


def test_a_program_that_is_not_there_says_so() -> None:
    process = Process(["/no/such/program"], stdout=subprocess.PIPE)
    assert process.output is not None
    assert b"cannot start /no/such/program: No such file" in process.output.read()
    assert process.wait(10) == 127
    process.stop()


def test_stop_takes_what_the_program_left_behind() -> None:
    mark = uuid.uuid4().hex
    process = start(LEAVES_CHILDREN, mark)
    assert len(mentioning(mark)) >= 3
    process.stop()
    assert mentioning(mark) == {}


def test_a_killed_program_takes_its_children_along() -> None:
    mark = uuid.uuid4().hex
    process = start(LEAVES_CHILDREN, mark)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(10) == 128 + signal.SIGKILL
    assert mentioning(mark) == {}
    process.stop()


def test_a_stubborn_program_is_killed_after_its_grace() -> None:
    process = start(STUBBORN, grace=0.5)
    began = time.monotonic()
    process.stop()
    assert 0.4 < time.monotonic() - began < 5
    assert not alive(process.pid)


def test_a_frozen_program_is_woken_to_stop() -> None:
    process = start("import time; print('ready', flush=True); time.sleep(600)", grace=20)
    os.kill(process.pid, signal.SIGSTOP)
    began = time.monotonic()
    process.stop()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("also_the_guard", [False, True])
def test_nothing_outlives_a_parent_that_is_killed(also_the_guard: bool) -> None:
    mark = uuid.uuid4().hex
    parent = (
        "import sys, time; from training.serving.process import Process;"
        f"p = Process([sys.executable, '-c', 'import time; time.sleep(600)', '{mark}']);"
        "print(p.pid, p._guard.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as outer:
        assert outer.stdout is not None
        child, guard = map(int, outer.stdout.readline().split())
        wait_for(lambda: mark in Path(f"/proc/{child}/cmdline").read_text(), "the program runs")
        if also_the_guard:
            os.kill(guard, signal.SIGKILL)
        os.kill(outer.pid, signal.SIGKILL)
        wait_for(lambda: mentioning(mark) == {}, "everything is gone", 15)


def test_a_lock_is_held_until_the_last_program_is_gone(tmp_path: Path) -> None:
    from workers.embedded import running

    held = running.lock(tmp_path)
    assert held is not None
    process = Process([sys.executable, "-c", "import time; time.sleep(600)"], hold=[held])
    os.close(held)  # as the kernel does when we are killed
    assert running.lock(tmp_path) is None
    wait_for(lambda: "guard.py" not in Path(f"/proc/{process.pid}/cmdline").read_text(), "the program runs")
    kept = []
    for entry in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it opens and closes files while it starts
            kept.append(str(entry.readlink()))
    assert kept
    assert not any(str(tmp_path) in file for file in kept), "the program itself must not get the lock"
    process.stop()
    again = running.lock(tmp_path)
    assert again is not None
    os.close(again)


LEAVES_SOCKETS = """
import os, socket, sys, time, uuid
folder = os.environ["SOCKETS"]
for _ in range(2):
    socket.socket(socket.AF_UNIX).bind(f"{folder}/{uuid.uuid4()}")
print("ready", flush=True)
print(folder, flush=True)
time.sleep(600 if sys.argv[1:] else 0)
"""


@pytest.mark.parametrize("base", ["", "given", "x" * 90, "missing"])
def test_its_sockets_go_with_it(base: str) -> None:
    """However it ends, and however long the path of the folder for temporary files is."""
    given = Path(tempfile.mkdtemp(prefix="t", dir="/tmp")) / base
    if base != "missing":
        given.mkdir(exist_ok=True)
    env = os.environ | {"SOCKETS": str(given)}
    try:
        for end in ("by itself", "stopped", "killed"):
            more = [] if end == "by itself" else ["stay"]
            process = Process(
                [sys.executable, "-c", LEAVES_SOCKETS, *more], env=env, stdout=subprocess.PIPE, sockets="SOCKETS"
            )
            assert process.output is not None
            assert process.output.readline() == b"ready\n"
            folder = Path(process.output.readline().decode().strip())
            assert folder.parent == (given if base in ("", "given") else Path("/tmp"))
            if end == "killed":
                os.kill(process.pid, signal.SIGKILL)
            if end == "stopped":
                process.stop()
            process.wait(20)
            assert not folder.exists()
            process.stop()
    finally:
        shutil.rmtree(given if not base else given.parent)


def test_no_program_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.serving.process.GUARD", Path("/no/such/guard.py"))
    with pytest.raises(CannotStart, match="did not start"):
        Process(["true"], stdout=subprocess.DEVNULL)
