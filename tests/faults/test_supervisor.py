"""`manage.py up` with each of its processes killed; with vLLM, which takes long to start, in `make soak`."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.processes import mentioning, wait_for

ROOT = Path(__file__).resolve().parents[2]


class Site:
    """One folder in which Longhand is started, killed and started again."""

    def __init__(self, folder: Path, *, model_server: bool = False) -> None:
        self.var = folder / "var"
        self.log = folder / "up.log"
        self.process: subprocess.Popen[bytes] | None = None
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.env = kept | {
            "DEBUG": "true",
            "VAR": str(self.var),
            "PORT": "0",
            "MODEL": "demo/model",
        }
        if not model_server:
            self.env["MODEL_SERVER_URL"] = "http://127.0.0.1:9"  # nobody: the page must be there all the same

    def up(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up"],
                cwd=ROOT,
                env=self.env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self.answers, f"the page answers; {self.log.read_text()[-2000:]}", 90)

    def notes(self) -> dict[str, Any]:
        try:
            notes: dict[str, Any] = json.loads((self.var / "run.json").read_text())
        except (OSError, ValueError):
            return {}
        return notes

    def pid(self, name: str) -> int:
        return int(self.notes().get("processes", {}).get(name, 0))

    def answers(self) -> bool:
        notes = self.notes()
        if self.process is None or self.process.poll() is not None or self.pid("supervisor") != self.process.pid:
            return False
        try:
            with urllib.request.urlopen(f"{notes['address']}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, ValueError):
            return False

    def api(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        notes = self.notes()
        token = next(account["token"] for account in notes["accounts"] if account["role"] == "writer")
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{notes['address']}/api{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def left(self) -> dict[int, str]:
        return mentioning(str(self.var))

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)


@contextmanager
def running(*, model_server: bool = False) -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="lh-") as name:
        Path(name).chmod(0o755)
        site = Site(Path(name), model_server=model_server)
        site.up()
        try:
            yield site
        finally:
            site.stop()
        wait_for(lambda: site.left() == {}, "nothing is left", 30)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running() as site:
        yield site


@pytest.mark.xdist_group("site of make run")
def test_what_run_json_says_and_a_second_start(site: Site) -> None:
    path = site.var / "run.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    wait_for(
        lambda: {"web", "narrator", "worker", "trainer"} <= set(site.notes()["processes"]), "all processes are named"
    )
    notes = site.notes()
    assert {"supervisor", "postgres", "redis", "web", "narrator", "worker", "trainer"} == set(notes["processes"])
    assert {account["role"] for account in notes["accounts"]} == {"writer", "editor", "admin"}
    for account in notes["accounts"]:
        assert {"name", "email", "password", "token", "role"} <= set(account)
    assert site.api("GET", "/stories") == []

    second = subprocess.run(
        [sys.executable, "manage.py", "up"],
        cwd=ROOT,
        env=site.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert "running already" in second.stderr
    assert notes["address"] in second.stderr
    assert site.answers()

    # Passwords that people sign in with are printed for them; what the machines tell each other is not.
    said = site.log.read_text()
    assert notes["address"] in said
    for secret in (notes["environment"]["DATABASE_URL"], (site.var / "postgres" / "password").read_text()):
        assert secret not in said
    for name in ("lock", "run.json", "secret_key", "demo_accounts.json"):
        assert stat.S_IMODE((site.var / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(site.var.stat().st_mode) & 0o007 == 0

    # Another command of this folder meets the same database.
    shown = subprocess.run(
        [sys.executable, "manage.py", "showmigrations", "stories"],
        cwd=ROOT,
        env=site.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "[X] 0001_initial" in shown.stdout, shown.stderr


@pytest.mark.xdist_group("site of make run")
def test_whatever_dies_is_started_again_and_data_are_kept(site: Site) -> None:
    url = site.notes()["environment"]["DATABASE_URL"]
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'durable' AS word")
    for name in ("web", "narrator", "worker", "trainer", "redis", "postgres"):
        wait_for(lambda name=name: site.pid(name) > 0, f"{name} runs")  # type: ignore[misc]
        before = site.pid(name)
        os.kill(before, signal.SIGKILL)
        wait_for(lambda name=name, before=before: site.pid(name) not in (0, before), f"{name} is started again")  # type: ignore[misc]
    wait_for(site.answers, "the page answers again")

    def kept() -> bool:
        try:
            with psycopg.connect(url) as connection:
                return connection.execute("SELECT word FROM kept").fetchone() == ("durable",)
        except psycopg.OperationalError:
            return False

    wait_for(kept, "the data are there")

    # The whole supervisor, and a start at once, while the old programs are still ending.
    assert site.process is not None
    site.process.kill()
    site.process.wait()
    site.up()
    assert kept()

    site.process.kill()
    site.process.wait()
    wait_for(lambda: site.left() == {}, f"no orphan: {site.left()}", 30)
    site.up()
    assert kept()


@pytest.mark.soak
def test_the_model_server_is_killed_in_the_middle_of_a_story() -> None:
    with running(model_server=True) as site:
        wanted = {"title": "The lamp", "premise": "A keeper alone.", "target_words": 2000}
        story = site.api("POST", "/stories", wanted)["id"]
        for _ in range(3):
            words = site.api("GET", f"/stories/{story}")["words"]
            wait_for(lambda words=words: site.api("GET", f"/stories/{story}")["words"] > words + 100, "it grows", 180)  # type: ignore[misc]
            before = site.api("GET", f"/stories/{story}")["full_text"]
            os.kill(site.pid("vllm"), signal.SIGKILL)
        wait_for(
            lambda: site.api("GET", f"/stories/{story}")["generation"]["state"] == "done", "it ends by itself", 480
        )
        done = site.api("GET", f"/stories/{story}")
        assert done["full_text"].startswith(before)
        assert 1800 <= done["words"] <= 2200


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "manage.py", "up"],
            cwd=ROOT,
            env=site.env
            | {
                "PORT": str(port),
                "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
                "REDIS_URL": "redis://127.0.0.1:9",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert f"port {port}: Address already in use" in done.stderr
