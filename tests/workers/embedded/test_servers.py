from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis as redis_client

from workers.embedded.postgres import PostgreSQL
from workers.embedded.redis import Redis
from workers.embedded.state import home, server_owner

pytestmark = pytest.mark.processes

ROOT = Path(__file__).resolve().parents[3]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of our own directly under /tmp: pytest's are too deep for a unix socket."""
    with tempfile.TemporaryDirectory(prefix="lh-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def started(folder: Path) -> PostgreSQL:
    server = PostgreSQL(home(folder / "var", server_owner()))
    server.prepare()
    with open(os.devnull, "wb") as nowhere:
        server.start(nowhere)
    server.wait_ready()
    return server


def listening_ports() -> set[int]:
    """TCP ports that anybody on this machine listens on."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:] + Path("/proc/net/tcp6").read_text().splitlines()[1:]
    return {int(line.split()[1].rpartition(":")[2], 16) for line in lines if line.split()[3] == "0A"}


def modes(path: Path) -> list[tuple[Path, int, int, int]]:
    """Mode and owner of a folder and all above it."""
    found = [(at, at.stat()) for at in (path, *path.parents)]
    return [(at, status.st_mode, status.st_uid, status.st_gid) for at, status in found]


def test_data_survive_a_kill_of_everything(folder: Path) -> None:
    server = started(folder)
    try:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept (word text)")
            connection.execute("INSERT INTO kept VALUES ('durable')")
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(15)
        with open(os.devnull, "wb") as nowhere:
            server.start(nowhere)
        server.wait_ready()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT word FROM kept").fetchone() == ("durable",)
    finally:
        server.stop()


def test_a_stale_pid_file_that_names_a_stranger_stops_nobody(folder: Path) -> None:
    server = started(folder)
    server.stop()
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        (server.data / "postmaster.pid").write_text(f"{stranger.pid}\n{server.data}\n1\n5432\n\n\n\n")
        with open(os.devnull, "wb") as nowhere:
            server.start(nowhere)
        server.wait_ready()
        assert stranger.poll() is None
    finally:
        server.stop()
        stranger.kill()
        stranger.wait()


def test_a_half_made_cluster_is_made_again(folder: Path) -> None:
    state = home(folder / "var", server_owner())
    (state / "postgres" / "data.new" / "base").mkdir(parents=True)
    (state / "postgres" / "data.new" / "PG_VERSION").write_text("18")
    server = started(folder)
    server.stop()
    assert not (server.folder / "data.new").exists()


def test_everything_is_closed_to_others_and_no_port_is_open(folder: Path) -> None:
    before, ports = modes(folder), listening_ports()
    server = started(folder)
    redis = Redis(folder / "var")
    redis.prepare()
    with open(os.devnull, "wb") as nowhere:
        redis.start(nowhere)
    try:
        redis.wait_ready()
        assert modes(folder) == before, "permissions of folders that are not ours"
        assert 5432 not in listening_ports() - ports
        for path in (folder / "var").rglob("*"):
            if not path.is_symlink():
                assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0, f"{path} is open to other users"
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.url.replace(server.password, "wrong"))
        assert redis_client.Redis.from_url(redis.url).config_get("port") == {"port": "0"}
        assert stat.S_IMODE((redis.folder / "redis.sock").stat().st_mode) == 0o700
    finally:
        redis.stop()
        server.stop()


def test_a_path_too_long_for_a_socket_becomes_a_local_port_with_a_password(folder: Path) -> None:
    deep = folder / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    for at in (deep, deep.parent, folder):
        at.chmod(0o755)
    server = started(deep)
    redis = Redis(deep / "var")
    redis.prepare()
    with open(os.devnull, "wb") as nowhere:
        redis.start(nowhere)
    try:
        redis.wait_ready()
        assert f"127.0.0.1:{server.port}" in server.url
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(redis_client.AuthenticationError):
            redis_client.Redis(port=redis.port or 0).ping()
        assert redis.process is not None
        assert (
            redis.url.partition("@")[0].rpartition(":")[2] not in Path(f"/proc/{redis.process.pid}/cmdline").read_text()
        )
    finally:
        redis.stop()
        server.stop()


@as_root
def test_root_behind_a_closed_folder_keeps_its_state_elsewhere(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    before = modes(closed)
    server = started(closed)
    elsewhere = Path((closed / "var" / "elsewhere").read_text().strip())
    try:
        assert server.data.is_relative_to(elsewhere)
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert modes(closed) == before
    finally:
        server.stop()
        shutil.rmtree(elsewhere)


@as_root
def test_programs_out_of_reach_are_copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from workers.embedded.postgres import installation

    real = installation()
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(real.parent, closed / real.parent.name, symlinks=True)
    shutil.copytree(
        real.parent.with_name(f"{real.parent.name}.libs"), closed / f"{real.parent.name}.libs", symlinks=True
    )
    monkeypatch.setattr("workers.embedded.postgres.installation", lambda: closed / real.parent.name / real.name)
    server = started(folder)
    try:
        assert server.bin.is_relative_to(server.folder)
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE EXTENSION vector")
    finally:
        server.stop()


@as_root
def test_another_program_of_the_same_user_cannot_enter(folder: Path) -> None:
    server = started(folder)
    try:
        owner = server_owner()
        assert owner is not None
        look = subprocess.run(
            ["ls", str(server.folder)], user=owner.uid, group=65534, extra_groups=[], capture_output=True, check=False
        )
        assert look.returncode != 0
    finally:
        server.stop()


@as_root
def test_an_ordinary_user_runs_them_too(folder: Path) -> None:
    """The same code, started by a user without rights, with a Python that he can reach."""
    user = pwd.getpwnam("daemon")
    python = next(
        (name for name in (sys.executable, "/usr/bin/python3", "/usr/bin/python3.11") if _reaches(user.pw_uid, name)),
        None,
    )
    if python is None:
        pytest.skip("no Python of this version that an ordinary user can reach")
    os.chown(folder, user.pw_uid, user.pw_gid)
    word = secrets.token_hex(8)
    code = f"""
import os, subprocess, psycopg
from pathlib import Path
from workers.embedded.postgres import PostgreSQL
from workers.embedded.redis import Redis
from workers.embedded.state import home, server_owner
folder = Path({str(folder)!r}) / "var"
server, redis = PostgreSQL(home(folder, server_owner())), Redis(folder)
for each in (server, redis):
    each.prepare(); each.start(subprocess.DEVNULL); each.wait_ready()
with psycopg.connect(server.url) as connection:
    print(connection.execute("SELECT '{word}'").fetchone()[0], os.geteuid(), Path(folder).stat().st_mode & 0o777)
redis.stop(); server.stop()
"""
    # Debian 12's own Python is 3.11.2, for which redis needs this package; the environment of the tests may be newer.
    (folder / "async_timeout.py").write_text("from asyncio import timeout\n__all__ = ['timeout']\n")
    site = next(path for path in sys.path if path.endswith("site-packages"))
    done = subprocess.run(
        [python, "-c", code],
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        cwd="/",
        env={"PATH": os.defpath, "PYTHONPATH": f"{ROOT}:{site}:{folder}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [word, str(user.pw_uid), str(0o700)], done.stderr


def _reaches(uid: int, python: str) -> bool:
    code = f"import sys; raise SystemExit(sys.version_info[:2] != {sys.version_info[:2]!r})"
    try:
        return subprocess.run([python, "-c", code], user=uid, extra_groups=[], cwd="/", check=False).returncode == 0
    except OSError:
        return False
