"""A GPU worker cannot read sessions, passwords, tokens and second factors in the database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pytest
from django.db import connection

from tests.workers.jobs.site import database_url
from workers.role import ensure_worker_role
from writer.accounts.models import ApiToken, User

ROLE = f"longhand_worker_{os.environ.get('PYTEST_XDIST_WORKER', 'test')}"
"""A role belongs to the whole server, and other tests are at it too."""


@pytest.fixture
def as_worker(transactional_db: None, owner: User) -> Iterator[psycopg.Connection]:
    ApiToken.issue(owner, "mine")
    parts = urlsplit(database_url())
    where = parts.netloc.rpartition("@")[2]
    url = urlunsplit(parts._replace(netloc=f"{ROLE}:{quote('a pass/word', safe='')}@{where}"))
    from django.db import transaction

    for _ in range(2):  # done at every start
        with transaction.atomic():
            ensure_worker_role(url)
    with psycopg.connect(url, autocommit=True) as connected:
        yield connected
    with connection.cursor() as cursor:
        cursor.execute(f"DROP OWNED BY {ROLE}; DROP ROLE IF EXISTS {ROLE}")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM django_session",
        "SELECT password FROM accounts_user",
        "SELECT * FROM accounts_user",
        "SELECT email FROM accounts_user",
        "SELECT digest FROM accounts_apitoken",
        "SELECT * FROM accounts_invitation",
        "SELECT * FROM mfa_authenticator",
        "SELECT * FROM account_emailaddress",
        "SELECT * FROM usersessions_usersession",
        "UPDATE accounts_user SET role = 'admin'",
        "DELETE FROM accounts_auditevent",
        "UPDATE accounts_auditevent SET who = 'nobody'",
        "DELETE FROM editorial_vote",
        "UPDATE editorial_snapshotrow SET label = 1",
        "UPDATE editorial_violation SET state = 'accepted'",
        "TRUNCATE studio_run CASCADE",
        "DROP TABLE studio_run",
        "CREATE ROLE another",
    ],
)
def test_what_it_may_not(as_worker: psycopg.Connection, query: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        as_worker.execute(query)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id, name, role FROM accounts_user",
        "SELECT * FROM studio_run",
        "UPDATE studio_run SET step = 1",
        "SELECT * FROM editorial_snapshotrow",
        "SELECT * FROM stories_modelversion",
        "INSERT INTO editorial_violation SELECT * FROM editorial_violation",
        "INSERT INTO accounts_auditevent (at, who, act, about, details) VALUES (now(), 'the site', 'a.b', 'c', '{}')",
    ],
)
def test_what_it_needs(as_worker: psycopg.Connection, query: str) -> None:
    as_worker.execute(query)
