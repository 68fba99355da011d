"""A running Longhand for a benchmark: all of it, in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from training.serving.process import free_port

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class House:
    """A running Longhand, as its run.json describes it."""

    url: str
    tokens: dict[str, str]
    """Of the demo accounts, by role."""
    pids: dict[str, int]
    environment: dict[str, str]
    """Where its servers are: DATABASE_URL, REDIS_URL and others."""
    var: Path
    passwords: dict[str, str]
    """Of the demo accounts, by role."""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens['writer']}"}


@contextmanager
def house(model_url: str, model_key: str) -> Iterator[House]:
    """Start the whole of Longhand in a folder of its own, in front of one model server; "" has it start its own."""
    with tempfile.TemporaryDirectory(prefix="longhand-bench-") as var:
        env = os.environ | {
            "DEBUG": "1", "VAR": var, "PORT": str(free_port()), "MODEL_SERVER_URL": model_url, "MODEL_SERVER_KEY": model_key,
            "STREAMS": "1000", "STORIES_AT_ONCE": "100000", "WORDS_PER_DAY": "1000000000",
            "PAIRS_PER_DAY": "1000000",
        }  # fmt: skip
        with Path(var, "output").open("wb") as log:
            up = subprocess.Popen([sys.executable, "manage.py", "up"], cwd=ROOT, env=env, stdout=log, stderr=log)
        try:
            run = Path(var) / "run.json"
            deadline = time.monotonic() + 120
            while not (facts := _ready(run)):
                if time.monotonic() > deadline or up.poll() is not None:
                    raise SystemExit((Path(var) / "output").read_text()[-2000:])
                time.sleep(0.2)
            tokens, passwords = (
                {person["role"]: person[what] for person in facts["accounts"]} for what in ("token", "password")
            )
            yield House(facts["address"], tokens, facts["processes"], facts["environment"], Path(var), passwords)
        finally:
            up.send_signal(signal.SIGINT)
            try:
                up.wait(60)
            except subprocess.TimeoutExpired:
                up.kill()


def _ready(run: Path) -> dict[str, Any] | None:
    """What run.json says, once every process of ours runs."""
    if not run.exists():
        return None
    facts: dict[str, Any] = json.loads(run.read_text())
    if not facts["address"] or not {"web", "narrator"} <= facts["processes"].keys():
        return None
    try:
        return facts if httpx.get(f"{facts['address']}/healthz", timeout=5).is_success else None
    except httpx.HTTPError:
        return None
