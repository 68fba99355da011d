"""The documentation in the site: for everybody, with links and pictures that lead somewhere, and nothing of it taken for markup of ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

from tests.cast import *  # noqa: F403
from webapp.env import VERSION
from writer.accounts.models import User
from writer.help import pages

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("name", pages.files())
def test_every_link_of_a_page_leads_to_a_page_and_a_place_in_it(name: str, client: Client) -> None:
    page = pages.page(name)
    for href in re.findall(r'href="([^"]+)"', page.html):
        address, _, anchor = href.partition("#")
        if address.startswith("https://"):
            continue
        target = client.get(address or f"/help/{name}")
        assert target.status_code == 200, href
        assert not anchor or f'id="{anchor}"' in target.content.decode(), href
    for source in re.findall(r'src="/static/([^"]+)"', page.html):
        assert finders.find(source), source


def test_the_first_page_leads_to_every_other(client: Client) -> None:
    first = client.get("/help/").content.decode()
    assert all(f'href="/help/{name}"' in first for name in pages.files() if name)


def test_anybody_may_read_it_and_people_see_the_version(
    client: Client, stranger: User, sign_in: Callable[..., Client]
) -> None:
    guest = client.get("/help/use/writer").content.decode()
    assert "<h1" in guest
    assert f"Longhand {VERSION}" not in guest
    assert 'href="/help/"' in client.get("/account/login/").content.decode()
    assert f"Longhand {VERSION}" in sign_in(stranger).get("/help/use/writer").content.decode()


@pytest.mark.parametrize(
    "name", ["nothing", "README", "use", "../SECURITY", "..%2fSECURITY", "use/writer.md", "use/writer/"]
)
def test_there_is_nothing_else(name: str, client: Client) -> None:
    assert client.get(f"/help/{name}").status_code == 404


def test_markup_is_shown_and_not_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = tmp_path / "page.md"
    written.write_text(
        "# A\n\n<!-- not for readers -->\n<script>x</script> [y](javascript:alert(1))\n\n```\n<b>\n```\n"
    )
    monkeypatch.setattr(pages, "files", lambda: {"other": written})
    html = pages.page("other").html
    assert "&lt;script&gt;" in html
    assert "<code>&lt;b&gt;" in html
    assert "<script" not in html
    assert "href" not in html
    assert "not for readers" not in html


def test_anchors_are_those_of_a_code_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = tmp_path / "page.md"
    written.write_text("# A\n\n## Start: `make run`, twice\n\n## A b\n\n## A b\n")
    monkeypatch.setattr(pages, "files", lambda: {"anchors": written})
    assert pages.page("anchors").sections == [
        ("start-make-run-twice", "Start: make run, twice"),
        ("a-b", "A b"),
        ("a-b-1", "A b"),
    ]
