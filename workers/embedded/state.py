"""Folders of the embedded servers: private, but accessible for the user that PostgreSQL runs as.

PostgreSQL refuses to run as root. Started by root it runs as `nobody`, the ordinary user that every machine has, with its own
group: the folders above its data are open to this group only, so that other programs that run as `nobody` cannot enter.
Permissions of existing folders are never changed. If one of them excludes `nobody` (such as /root), the state is kept in
/var/lib/longhand, and a file in var/ contains that path.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import subprocess
import sys
from pathlib import Path

from training.serving.process import CannotStart, Owner

GROUP = 60900
"""A group id that no distribution uses; it needs no entry in /etc/group."""

SOCKET_PATH_LIMIT = 107


def server_owner() -> Owner | None:
    """The user for PostgreSQL: None for the current user or, if that is root, `nobody` with its own group. Raises CannotStart."""
    if os.geteuid() != 0:
        return None
    try:
        return Owner(pwd.getpwnam("nobody").pw_uid, GROUP)
    except KeyError:
        raise CannotStart(
            "PostgreSQL does not run as root, and this machine has no user 'nobody'. Run Longhand as an ordinary user."
        ) from None


def can_run(argv: list[str], owner: Owner | None) -> bool:
    """Whether `owner` can run this command. Trying is the only reliable test of permissions."""
    if owner is None:
        return True
    try:
        done = subprocess.run(
            argv,
            user=owner.uid,
            group=owner.gid,
            extra_groups=[],
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0


def private_folder(path: Path, owner: Owner | None = None) -> Path:
    """Make `path` and its missing parents, closed to other users; the group of `owner` may enter them, but not list them."""
    made = []
    at = path
    while not at.exists():
        made.append(at)
        at = at.parent
    for folder in reversed(made):
        folder.mkdir(mode=0o700)
        if owner is not None:
            os.chown(folder, os.geteuid(), owner.gid)
            folder.chmod(0o710)
    return path


def home(var: Path, owner: Owner | None) -> Path:
    """The folder of the servers' state: `var`, or the path in `var/elsewhere`."""
    private_folder(var, owner)
    if owner is None:
        return var
    note = var / "elsewhere"
    if note.exists():
        return private_folder(Path(note.read_text().strip()), owner)
    status = var.stat()
    if status.st_uid == 0 and status.st_gid != owner.gid and not list(var.glob("*/PG_VERSION")):
        # var/ was made by another part of this project (a log, a secret key); it may be opened to our group
        os.chown(var, 0, owner.gid)
        var.chmod(0o710)
    if can_run(["/usr/bin/env", "test", "-x", str(var)], owner):
        return var
    name = hashlib.sha256(str(var.resolve()).encode()).hexdigest()[:12]
    elsewhere = private_folder(Path("/var/lib/longhand") / name, owner)
    if not can_run(["/usr/bin/env", "test", "-x", str(elsewhere)], owner):
        raise CannotStart(
            f"The user 'nobody' can reach neither {var} nor {elsewhere}. Run Longhand as an ordinary user."
        )
    note.touch(mode=0o600)
    note.write_text(f"{elsewhere}\n")
    print(f"PostgreSQL cannot reach {var}, so its data is in {elsewhere}.", file=sys.stderr)
    return elsewhere
