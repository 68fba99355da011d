"""The names in `UNBROKEN` are those that this machine's glibc knows; benchmarks/training_starter.py measures what they gain."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from training.common.heap import UNBROKEN

LOADERS = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/ld-linux" in line}


@pytest.mark.processes
@pytest.mark.skipif(not LOADERS, reason="this Python does not run on glibc")
def test_glibc_knows_the_names() -> None:
    listed = subprocess.run([*LOADERS, "--list-tunables"], capture_output=True, text=True, check=True).stdout
    known = {line.partition(":")[0] for line in listed.splitlines()}
    assert {setting.partition("=")[0] for setting in UNBROKEN["GLIBC_TUNABLES"].split(":")} <= known
