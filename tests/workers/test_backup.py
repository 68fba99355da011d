from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from workers.backup import BackupFailed, backup, restore


@pytest.fixture
def url() -> Iterator[str]:
    """An empty database of this test's own, in the server of the session."""
    server = urlsplit(os.environ["DATABASE_URL"])
    name = f"backup_{os.getpid()}"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield urlunsplit(server._replace(path=f"/{name}"))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute(statement)


def words(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT word FROM kept ORDER BY word")]


@pytest.mark.processes
def test_a_backup_brings_back_what_was_and_nothing_else(url: str, tmp_path: Path) -> None:
    run(url, "CREATE TABLE kept (word text PRIMARY KEY)", "INSERT INTO kept VALUES ('𝄞 one'), ('two')")
    file = backup(tmp_path, url)
    assert file.parent == tmp_path / "backups"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    run(url, "DELETE FROM kept", "INSERT INTO kept VALUES ('three')", "CREATE TABLE newer (id int)")
    restore(tmp_path, url, file)
    assert words(url) == ["two", "𝄞 one"]
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regclass('newer')").fetchone() == (None,)


@pytest.mark.processes
def test_a_broken_backup_changes_nothing(url: str, tmp_path: Path) -> None:
    run(url, "CREATE TABLE kept (word text)", "INSERT INTO kept VALUES ('here')")
    file = backup(tmp_path, url)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(BackupFailed, match="pg_restore failed"):
        restore(tmp_path, url, file)
    assert words(url) == ["here"]
    assert not (tmp_path / "backups" / "restore.sql").exists()


@pytest.mark.processes
def test_a_server_that_is_away_is_said_and_leaves_no_half_file(tmp_path: Path) -> None:
    with pytest.raises(BackupFailed, match="pg_dump failed"):
        backup(tmp_path, "postgresql://longhand@127.0.0.1:9/longhand")
    assert list((tmp_path / "backups").iterdir()) == []


@pytest.mark.processes
def test_the_embedded_server_is_started_for_it() -> None:
    with tempfile.TemporaryDirectory(prefix="lh-") as name:
        Path(name).chmod(0o755)
        var = Path(name) / "var"
        file = backup(var, "")
        assert file.stat().st_size > 0
        restore(var, "", file)
        assert not (var / "postgres" / "data" / "postmaster.pid").exists()
        shutil.rmtree(var)


def test_no_restore_into_a_running_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "some.dump"
    file.touch()
    monkeypatch.setattr("workers.backup.running.read", lambda var: {"address": "http://127.0.0.1:8000"})
    with pytest.raises(BackupFailed, match="is running at"):
        restore(tmp_path, "", file)
