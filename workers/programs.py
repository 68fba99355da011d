"""The processes of this project that `manage.py up` keeps running, and their settings."""

from __future__ import annotations

import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from training.serving.process import Process


@dataclass(frozen=True)
class Site:
    """The settings of this machine from `webapp.env`. A server whose address is set is not started."""

    root: Path
    var: Path
    host: str
    port: int
    debug: bool
    database_url: str
    redis_url: str
    model_server_url: str
    model_server_key: str
    model: str
    served_as: str
    model_context: int
    starter: bool = False
    """Whether to download the starter model, and to serve it."""


@dataclass
class Program:
    """A process of this project."""

    name: str
    argv: list[str]
    env: dict[str, str]
    cwd: Path
    site_socket: int = -1
    """The socket that tells a program, and the programs that it starts and that outlive it, that the site shuts down."""

    def start(self, stdout: int, hold: tuple[int, ...]) -> Process:
        apart = self.site_socket >= 0
        give = (self.site_socket,) if apart else ()
        return Process(
            self.argv, env=self.env, cwd=self.cwd, stdout=stdout, hold=hold, grace=15, give=give, alone=apart
        )


def programs(site: Site, port: int, env: dict[str, str], site_socket: int) -> list[Program]:
    """The programs of a site. `site_socket` is the socket whose other end closes when the site shuts down."""
    python = sys.executable
    argv = {
        "web": [
            python, "-m", "uvicorn", "webapp.asgi:application", "--host", site.host, "--port", str(port),
            "--lifespan", "off", "--no-server-header", "--log-level", "warning", "--timeout-graceful-shutdown", "5",
            "--ws-per-message-deflate", "false",  # chunks are too short to profit, and each socket would need a buffer
        ],
        "narrator": [python, str(site.root / "manage.py"), "narrate"],
        "worker": [
            python, "-m", "celery", "-q", "-A", "webapp", "worker", "-Q", "default,io", "--pool", "threads", "-c", "4",
            "--without-gossip", "--without-mingle", "-n", "worker@%h",
            "-B", "-s", str(site.var / "beat"),  # the nightly clean-up
        ],
    }  # fmt: skip
    return [
        *(Program(name, command, env, site.root) for name, command in argv.items()),
        _trainer(site, env, site_socket),
    ]


def _trainer(site: Site, env: dict[str, str], site_socket: int) -> Program:
    """The GPU worker. It has its own role in the database, if there is one, and none of the site's secrets."""
    apart = {"LONGHAND_LIFE": str(site_socket), "SECRET_KEY": secrets.token_urlsafe(48), "EMAIL_URL": ""}
    if role := env.get("WORKER_DATABASE_URL"):
        apart["DATABASE_URL"] = role
    argv = [
        sys.executable, "-m", "celery", "-q", "-A", "webapp", "worker", "-Q", "gpu", "--pool", "threads", "-c", "2",
        "--without-gossip", "--without-mingle", "-n", "trainer@%h",
    ]  # fmt: skip
    return Program("trainer", argv, env | apart, site.root, site_socket)
