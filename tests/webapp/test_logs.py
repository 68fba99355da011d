"""The logs hold ids, and never a secret or a text of a story."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from io import StringIO

import pytest
import structlog
from django.test import Client

from webapp import logs
from writer.accounts.models import ApiToken, User
from writer.accounts.operations.invite import invite, link_of
from writer.stories.models import Story


@pytest.fixture
def written() -> Iterator[StringIO]:
    """What a production log would hold, from every logger."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    logs.configure({"json": True, "debug": False})
    out = StringIO()
    handler = next(handler for handler in root.handlers if isinstance(handler, logging.StreamHandler))
    handler.setStream(out)
    yield out
    root.handlers, root.level = before, level
    logs.configure({"json": False, "debug": True})


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("GET /account/invitation/s3cret-Link_1", "GET /account/invitation/[redacted]"),
        ("GET /account/password/reset/key/3-abc-def/ 200", "GET /account/password/reset/key/[redacted]/ 200"),
        ("token lh_abcdefghijklmnopqrstuvwxyz", "token lh_[redacted]"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer [redacted]"),
        (
            "postgresql://longhand:pass-word@127.0.0.1:5432/longhand",
            "postgresql://longhand:[redacted]@127.0.0.1:5432/longhand",
        ),
        ("redis://:pass@127.0.0.1:1/0 refused", "redis://:[redacted]@127.0.0.1:1/0 refused"),
        ("http://127.0.0.1:8000/v1 answered", "http://127.0.0.1:8000/v1 answered"),
    ],
)
def test_what_is_hidden(said: str, kept: str) -> None:
    assert logs.hide(said) == kept


def test_a_field_with_a_telling_name_is_hidden(written: StringIO) -> None:
    structlog.get_logger("x").info("made", api_token="abc", model_server_key="def", story="ghi")
    line = json.loads(written.getvalue())
    assert (line["api_token"], line["model_server_key"], line["story"]) == ("[redacted]", "[redacted]", "ghi")


def test_a_traceback_says_no_password(written: StringIO) -> None:
    def fail(url: str) -> None:
        raise ValueError(f"cannot reach {url}")

    try:
        fail("redis://:hunter2@127.0.0.1/0")
    except ValueError:
        structlog.get_logger("x").exception("broke")
    assert "cannot reach redis://:[redacted]@127.0.0.1/0" in written.getvalue()
    assert "hunter2" not in written.getvalue()


@pytest.mark.django_db
def test_requests_leave_ids_and_no_secrets(
    written: StringIO,
    owner: User,
    admin: User,
    story: Story,
    sign_in: Callable[..., Client],
) -> None:
    invitation = invite(by=admin, email="new@longhand.test", role="writer")
    link = link_of(invitation)
    _, secret = ApiToken.issue(owner, "script")
    client = Client(headers={"Authorization": f"Bearer {secret}"})
    client.get(f"/api/stories/{story.pk}")
    client.patch(f"/api/stories/{story.pk}", json.dumps({"premise": "A very private premise"}), "application/json")
    client.get("/api/stories/nonsense")
    sign_in(None).get(link)
    sign_in(None).get(link[:-1] + "x")
    sign_in(None).post("/account/login/", {"login": owner.email, "password": "my-secret-password"})
    text = written.getvalue()
    assert text.count("\n") >= 5
    for line in text.splitlines():
        json.loads(line)
    assert f'"story_id": "{story.pk}"' in text
    for word in (secret, link.rsplit("/", 1)[1][:20], "my-secret-password", "very private"):
        assert word not in text
