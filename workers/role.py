"""The database role of GPU workers, which cannot read sessions, passwords and tokens.

    python -m workers.prepare      makes the role in WORKER_DATABASE_URL, and grants its rights

A role in PostgreSQL belongs to the whole server, its rights to one database. Both are set again at every start, so that the rules
also apply to new tables, and rights that are no longer in the rules are revoked.
"""

from __future__ import annotations

import contextlib
from urllib.parse import unquote, urlsplit

from django.db import connection
from psycopg import errors, sql

WRITES = ("stories_", "studio_")
"""Prefixes of tables whose rows may be read and changed."""
READS = ("editorial_",)
EDITORIAL_WRITES = ("editorial_take", "editorial_pair", "editorial_brief")
"""The stories of an arena become takes and pairs."""
EDITORIAL_ADDS = ("editorial_violation",)
"""Violations that a stage made; only editors may change them."""
PEOPLE = ("id", "name", "role", "is_active")
AUDIT = "accounts_auditevent"


def ensure_worker_role(url: str) -> None:
    """Make the role with the name and password in this URL, and grant it exactly the rights above. Raises ValueError if one is missing."""
    parts = urlsplit(url)
    name, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not name or not password:
        raise ValueError("WORKER_DATABASE_URL needs a user and a password.")
    role = sql.Identifier(name)
    with connection.cursor() as cursor:
        raw = cursor.connection
        raw.execute("SELECT pg_advisory_xact_lock(hashtext('longhand role'))")
        if raw.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone() is None:
            with contextlib.suppress(errors.DuplicateObject):
                raw.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        raw.execute(
            sql.SQL("ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {}").format(
                role, sql.Literal(password)
            )
        )
        database = sql.Identifier(connection.settings_dict["NAME"])
        raw.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, role))
        raw.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(role))
        for kind in ("TABLES", "SEQUENCES"):
            raw.execute(sql.SQL("REVOKE ALL ON ALL {} IN SCHEMA public FROM {}").format(sql.SQL(kind), role))
        for table in connection.introspection.table_names(cursor):
            _grant(raw, role, table)
        people = sql.SQL(", ").join(map(sql.Identifier, PEOPLE))
        raw.execute(sql.SQL("GRANT SELECT ({}) ON accounts_user TO {}").format(people, role))
        for (sequence,) in raw.execute("SELECT sequencename FROM pg_sequences WHERE schemaname = 'public'").fetchall():
            if sequence.startswith((*WRITES, *READS, AUDIT)):
                raw.execute(sql.SQL("GRANT USAGE ON SEQUENCE {} TO {}").format(sql.Identifier(sequence), role))


def _grant(raw, role: sql.Identifier, table: str) -> None:  # type: ignore[no-untyped-def]
    if table.startswith(WRITES):
        rights = "SELECT, INSERT, UPDATE, DELETE"
    elif table in EDITORIAL_WRITES:
        rights = "SELECT, INSERT, UPDATE"
    elif table in EDITORIAL_ADDS:
        rights = "SELECT, INSERT"
    elif table.startswith(READS):
        rights = "SELECT"
    elif table == AUDIT:
        rights = "SELECT, INSERT"
    else:
        return
    raw.execute(sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(rights), sql.Identifier(table), role))
