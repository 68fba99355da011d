"""A running Longhand for a benchmark, with databases and files of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.report import ROOT
from training.serving.process import free_port
from workers.embedded.postgres import PostgreSQL
from workers.embedded.redis import Redis
from workers.embedded.state import home, server_owner

STARTER = ROOT / "var/models/SmolLM2-135M-Instruct"
"""Where `make run` puts the starter model."""


@dataclass
class Site:
    """A running Longhand, as described in its run.json. `tokens` and `passwords` are those of the demo accounts, by role."""

    url: str
    tokens: dict[str, str]
    pids: dict[str, int]
    environment: dict[str, str]
    """The addresses of its servers: DATABASE_URL, REDIS_URL and others."""
    var: Path
    passwords: dict[str, str]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens['writer']}"}


@contextmanager
def running_site(model_url: str, model_key: str, model: str = "demo/model") -> Iterator[Site]:
    """Start the whole of Longhand in a temporary folder, with the given server of `model`; with "" it starts its own."""
    with tempfile.TemporaryDirectory(prefix="longhand-bench-") as var:
        env = os.environ | {
            "DEBUG": "1", "VAR": var, "PORT": str(free_port()), "MODEL_SERVER_URL": model_url, "MODEL_SERVER_KEY": model_key, "MODEL": model,
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
            yield Site(facts["address"], tokens, facts["processes"], facts["environment"], Path(var), passwords)
        finally:
            up.send_signal(signal.SIGINT)
            try:
                up.wait(60)
            except subprocess.TimeoutExpired:
                up.kill()


def _ready(run: Path) -> dict[str, Any] | None:
    """Return the contents of run.json once all processes run, otherwise None."""
    if not run.exists():
        return None
    facts: dict[str, Any] = json.loads(run.read_text())
    if not facts["address"] or not {"web", "narrator"} <= facts["processes"].keys():
        return None
    try:
        return facts if httpx.get(f"{facts['address']}/healthz", timeout=5).is_success else None
    except httpx.HTTPError:
        return None


@contextmanager
def databases() -> Iterator[Path]:
    """Start a PostgreSQL and a Redis in a temporary folder, and set DATABASE_URL and REDIS_URL. Yields the folder."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="longhand-bench-")))
        owner = server_owner()
        postgres, redis = PostgreSQL(home(folder, owner)), Redis(home(folder, owner))
        log = stack.enter_context((folder / "servers.log").open("wb"))
        for server in (postgres, redis):
            server.prepare()
            server.start(stdout=log)
            stack.callback(server.stop)
            server.wait_ready()
        os.environ |= {"DATABASE_URL": postgres.url, "REDIS_URL": redis.url}
        yield folder
