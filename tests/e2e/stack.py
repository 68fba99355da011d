"""Longhand as processes, for a browser: the web server and a narrator on a database of their own.

PostgreSQL and Redis are those of the test session. Where every word must be checked, or the speed be chosen, the scripted
upstream writes; where the real thing is meant, the session's vLLM does.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Account:
    name: str
    email: str
    password: str
    token: str
    role: str
    session: str
    """Of a browser in which this person has signed in."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A process of ours that is surely gone at the end."""

    def __init__(self, arguments: list[str], env: Mapping[str, str], log: Path) -> None:
        self.arguments, self.env, self.log = arguments, env, log
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, *self.arguments], env=dict(self.env), cwd=ROOT, stdout=out, stderr=out
            )

    def kill(self) -> None:
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def stop(self) -> None:
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None


class Stack:
    def __init__(self, env: Mapping[str, str], folder: Path, accounts: list[Account]) -> None:
        self.env = dict(env)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.accounts = {account.role: account for account in accounts}
        uvicorn = ["-m", "uvicorn", "webapp.asgi:application", "--host", "127.0.0.1", "--port", str(self.port)]
        self.web = Process([*uvicorn, "--lifespan", "off"], env, folder / "web.log")
        self.narrator = Process([str(ROOT / "manage.py"), "narrate"], env, folder / "narrator.log")
        self._shell = self._start_shell()

    def wait_ready(self, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/healthz", timeout=2):
                    return
            except OSError:
                assert self.web.alive, f"the web server did not start: {self.web.log.read_text()[-3000:]}"
                assert time.monotonic() < end, "the web server does not answer"
                time.sleep(0.05)

    def stop(self) -> None:
        self._shell.communicate()
        self.narrator.stop()
        self.web.stop()

    def _start_shell(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.shell"], env=self.env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip

    def run(self, code: str) -> str:
        """What a piece of Python prints on this stack's database: to lay out what no page makes."""
        assert self._shell.stdin
        assert self._shell.stdout
        self._shell.stdin.write(json.dumps(code) + "\n")
        self._shell.stdin.flush()
        answer = json.loads(self._shell.stdout.readline())
        assert "said" in answer, answer["failed"]
        return str(answer["said"])

    # The truth, as a script sees it

    def api(self, method: str, path: str, body: Any = None, role: str = "writer") -> Any:
        request = urllib.request.Request(
            f"{self.url}/api{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.accounts[role].token}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from None

    def story(self, story_id: str) -> dict[str, Any]:
        return dict(self.api("GET", f"/stories/{story_id}"))

    def new_story(self, words: int = 300, *, start: bool = True, **fields: str) -> str:
        given = {"title": "The tide", "premise": "A harbour counts its waves. 🌊"} | fields
        return str(self.api("POST", "/stories", {**given, "target_words": words, "start": start})["id"])

    def wait_words(self, story_id: str, words: int, seconds: float = 40) -> dict[str, Any]:
        return self._wait(story_id, lambda story: story["words"] >= words, seconds, f"{words} words")

    def wait_state(self, story_id: str, state: str, seconds: float = 60) -> dict[str, Any]:
        return self._wait(story_id, lambda story: story["generation"]["state"] == state, seconds, state)

    def _wait(self, story_id: str, there: Any, seconds: float, what: str) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while not there(story := self.story(story_id)):
            assert time.monotonic() < end, f"{story['generation']} and not {what} after {seconds} s"
            time.sleep(0.1)
        return story


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def prepared(database_url: str) -> tuple[str, list[Account]]:
    """A database with all tables and the demo accounts, made once for each process that tests; each site has a copy of it."""
    name = f"e2e_{uuid4().hex[:12]}"
    _maintain(database_url, f'CREATE DATABASE "{name}"')
    atexit.register(_maintain, database_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    with TemporaryDirectory() as folder:
        ran = subprocess.run(
            [sys.executable, "-m", "tests.e2e.prepare"], env=_env(database_url, name, Path(folder)), cwd=ROOT, capture_output=True, text=True, timeout=120
        )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return name, [Account(**account) for account in json.loads(ran.stdout.splitlines()[-1])]


def _maintain(database_url: str, order: str) -> None:
    with psycopg.connect(urlunsplit(urlsplit(database_url)._replace(path="/postgres")), autocommit=True) as connection:
        connection.execute(order)


def _env(database_url: str, name: str, folder: Path) -> dict[str, str]:
    return dict(os.environ) | {
        "DATABASE_URL": urlunsplit(urlsplit(database_url)._replace(path=f"/{name}")),
        "DJANGO_SETTINGS_MODULE": "webapp.settings",
        "PYTHONPATH": str(ROOT),
        "DEBUG": "true",
        "VAR": str(folder / "var"),
        "MODEL": "demo/model",
    }


@contextmanager
def running(
    folder: Path, model_url: str, *, served: str = "scripted", key: str = "", **settings: str
) -> Iterator[Stack]:
    """Start it all on a new database, and take everything away again."""
    database_url, name = os.environ["DATABASE_URL"], f"e2e_{uuid4().hex[:12]}"
    template, accounts = prepared(database_url)
    _maintain(database_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    env = _env(database_url, name, folder) | {
        "MODEL_SERVER_URL": model_url,
        "MODEL_SERVER_KEY": key,
        "LEASE_SECONDS": "3",
        "STORIES_AT_ONCE": "50",
        "WORDS_PER_DAY": "10000000",
    } | settings  # fmt: skip
    try:
        with psycopg.connect(env["DATABASE_URL"]) as connection:  # what the upstream of this test calls the model
            connection.execute("UPDATE stories_modelversion SET served_name = %s", [served])
        stack = Stack(env, folder, accounts)
        try:
            stack.wait_ready()
            yield stack
        finally:
            stack.stop()
    finally:
        _maintain(database_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
