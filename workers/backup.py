"""`manage.py backup` and `restore`: pg_dump and pg_restore in their custom format, of the embedded server or of DATABASE_URL.

The dump of PostgreSQL is the whole backup: people, stories, all revisions and logs. Redis contains nothing that must be
kept. The programs are those of the PostgreSQL wheel, otherwise those on the PATH.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from training.serving.process import CannotStart
from workers.embedded import running
from workers.embedded.postgres import PostgreSQL, installation
from workers.embedded.state import home, private_folder, server_owner


class BackupFailed(RuntimeError):
    """The message is for the person who asked for it."""


def backup(var: Path, database_url: str, file: Path | None = None) -> Path:
    """Dump the database into `file` (default: var/backups/<time>.dump), completely or not at all; returns the path."""
    if file is None:
        file = private_folder(var / "backups") / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.dump"
    partial = file.with_name(f"{file.name}.partial")
    try:
        partial.touch(mode=0o600)
        with _database(var, database_url) as url:
            _run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={partial}", url=url)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return file


def restore(var: Path, database_url: str, file: Path) -> None:
    """Replace the contents of the database with the backup, in one transaction. Raises BackupFailed."""
    if not file.is_file():
        raise BackupFailed(f"There is no file {file}.")
    notes = running.read(var)
    if notes is not None:
        raise BackupFailed(f"Longhand is running at {notes.get('address')}. Stop it first, with Ctrl-C, then restore.")
    script = private_folder(var / "backups") / "restore.sql"
    try:
        script.touch(mode=0o600)
        with _database(var, database_url) as url:
            _run("pg_restore", "--no-owner", "--no-privileges", f"--file={script}", str(file))
            # A table that is newer than the backup would remain and break the migrations, so the schema is dropped first.
            anew = "DROP SCHEMA public CASCADE; CREATE SCHEMA public;"
            _run(
                "psql",
                "--quiet",
                "--no-psqlrc",
                "--set=ON_ERROR_STOP=1",
                "--single-transaction",
                "-c",
                anew,
                "-f",
                str(script),
                url=url,
            )
    finally:
        script.unlink(missing_ok=True)


@contextlib.contextmanager
def _database(var: Path, url: str) -> Iterator[str]:
    """The URL of the database: the given one, that of a running Longhand, or that of the embedded server, which is started for this."""
    if url:
        yield url
        return
    notes = running.read(var)
    if notes is not None:
        yield notes["environment"]["DATABASE_URL"]
        return
    state = home(var, server_owner())
    lock = running.lock(var)
    if lock is None:
        raise BackupFailed("Longhand is just starting or stopping in this folder. Try again in a moment.")
    server = PostgreSQL(state)
    try:
        server.prepare()
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            server.start(nowhere, (lock,))
        server.wait_ready()
        yield server.url
    finally:
        server.stop()
        os.close(lock)


def _run(program: str, *arguments: str, url: str = "") -> None:
    """Run a program of PostgreSQL. The URL is passed in the environment, since all users can read command lines."""
    env = dict(os.environ)
    if url:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        env |= {
            "PGHOST": query.get("host") or parts.hostname or "",
            "PGPORT": str(parts.port or 5432),
            "PGUSER": unquote(parts.username or ""),
            "PGPASSWORD": unquote(parts.password or ""),
            "PGDATABASE": unquote(parts.path.lstrip("/")),
        }
    try:
        path: str | None = str(installation() / "bin" / program)
    except CannotStart:
        path = shutil.which(program)
    if path is None:
        raise BackupFailed(f"{program} is missing: apt-get install postgresql-client")
    done = subprocess.run([path, *arguments], env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BackupFailed(f"{program} failed: {done.stderr.strip()}")
