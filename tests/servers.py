"""The real servers of a test session, started before Django reads its settings (`-p tests.servers` in pyproject.toml).

The process that the person started runs one PostgreSQL for all; pytest-django gives each xdist worker a database of its
own in it. Each worker runs a Redis of its own, because publish and subscribe ignore database numbers. One vLLM serves
the demo model to all workers: whoever needs it first asks the first process for it, over a unix socket. Training commands
and followers are forked from a process that has their imports already (`tests.warm`), whoever starts them.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Generator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Client, Listener
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests import warm
from training.serving.process import CannotStart
from training.serving.vllm import ModelServer, importable, on_processor
from workers.embedded.postgres import PostgreSQL
from workers.embedded.redis import Redis
from workers.embedded.state import home, server_owner

ROOT = Path(__file__).resolve().parent.parent
DEMO_MODEL = ROOT / "demo" / "model"


@dataclass(frozen=True)
class ServedModel:
    """The real vLLM of this session. `url` is without the /v1; `name` is what requests call the model."""

    url: str
    key: str
    name: str
    pid: int


def _stop_at_exit(*servers: PostgreSQL | Redis, folder: Path) -> None:
    owner = os.getpid()

    def stop() -> None:
        if os.getpid() == owner:  # not in a forked child of a test
            for server in servers:
                server.stop()
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)


def _quiet_log(folder: Path, name: str) -> int:
    return os.open(folder / f"{name}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _start_postgres() -> None:
    folder = Path(tempfile.mkdtemp(prefix="longhand-tests-"))
    postgres = PostgreSQL(home(folder, server_owner()), durable=False, connections=300)
    _stop_at_exit(postgres, folder=folder)
    postgres.prepare()
    log = _quiet_log(folder, "postgres")
    postgres.start(stdout=log)
    os.close(log)
    postgres.wait_ready()
    os.environ["DATABASE_URL"] = postgres.url
    os.environ["LONGHAND_TESTS"] = str(folder)


def _start_redis() -> None:
    folder = Path(tempfile.mkdtemp(prefix="longhand-redis-"))
    redis = Redis(folder)
    _stop_at_exit(redis, folder=folder)
    redis.prepare()
    log = _quiet_log(folder, "redis")
    redis.start(stdout=log)
    os.close(log)
    redis.wait_ready()
    os.environ["REDIS_URL"] = redis.url
    os.environ["VAR"] = str(folder / "var")


class _ModelOnRequest:
    """Starts vLLM when the first worker asks, and tells every worker where it is. Lives in the first process only."""

    def __init__(self, folder: Path) -> None:
        self._address = str(folder / "model.sock")
        self._listener = Listener(self._address, "AF_UNIX", authkey=b"tests")
        self._folder = folder
        self._server: ModelServer | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._serve, name="model on request", daemon=True).start()
        atexit.register(self._stop, os.getpid())

    def _serve(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=[connection], daemon=True).start()

    def _answer(self, connection) -> None:  # type: ignore[no-untyped-def]
        with connection, self._lock:
            try:
                connection.send(json.dumps(asdict(self._model())))
            except (CannotStart, OSError) as error:
                connection.send(json.dumps({"error": f"{error} Log: {self._folder / 'vllm.log'}"}))

    def _model(self) -> ServedModel:
        server = self._server
        if server is None or server.process is None or server.process.returncode is not None:
            # A test may have killed it: the next one that asks gets a new one.
            server = self._server = ModelServer(str(DEMO_MODEL), "demo/model")
            log = _quiet_log(self._folder, "vllm")
            server.start(stdout=log)
            os.close(log)
        server.wait_ready(600)
        assert server.process is not None
        return ServedModel(server.url, server.key, server.served_as, server.process.pid)

    def _stop(self, owner: int) -> None:
        if os.getpid() == owner:
            self._listener.close()
            if self._server is not None:
                self._server.stop()


def ask_for_model() -> ServedModel:
    """The session's vLLM, started if need be. It is shared: a test that kills it must ask again."""
    with Client(str(Path(os.environ["LONGHAND_TESTS"]) / "model.sock"), "AF_UNIX", authkey=b"tests") as connection:
        answer = json.loads(connection.recv())
    if "error" in answer:
        raise CannotStart(answer["error"])
    return ServedModel(**answer)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Generator[None, object, object]:
    """Before pytest-django loads the settings. The environment always wins here: no test may reach a real database."""
    os.environ |= {"DEBUG": "true", "SECRET_KEY": "only-for-tests", "ALLOWED_HOSTS": "localhost,127.0.0.1,testserver"}
    for name in ("MODEL_SERVER_URL", "MODEL_SERVER_KEY", "EMAIL_URL", "SITE_URL"):
        os.environ.pop(name, None)
    # Several tests and model servers run at once. Where each had a thread for each core, or its threads bound to the same ones, they
    # would wait for each other at every sum.
    os.environ |= {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    if on_processor():
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"  # see `training.serving.launch`
    if "PYTEST_XDIST_WORKER" not in os.environ:
        _start_postgres()
        if importable():
            _ModelOnRequest(Path(os.environ["LONGHAND_TESTS"]))
        warm.start_when_asked()
    subprocess.Popen = warm.Popen  # type: ignore[misc]
    _start_redis()
    return (yield)


@pytest.fixture(scope="session")
def model_server() -> ServedModel:
    """The one real vLLM of the session, serving demo/model."""
    if not importable():
        pytest.skip("vLLM is not installed here (requirements/cpu.txt or requirements/gpu.txt)")
    return ask_for_model()


@pytest.fixture(scope="session")
def process_env(django_db_setup: None) -> dict[str, str]:
    """The environment for a process of ours under test: the same servers, and this worker's own test database."""
    from django.db import connection

    url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}")
    return dict(os.environ) | {
        "DATABASE_URL": urlunsplit(url),
        "DJANGO_SETTINGS_MODULE": "webapp.settings",
        "PYTHONPATH": str(ROOT),
    }
