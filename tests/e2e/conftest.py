"""The browser tests run one after another in one process: they share a browser, and those of a file also share a site."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.e2e.browser import Desk, chromium, window
from tests.e2e.editorial import WIDE, PairDesk
from tests.e2e.editorial import window as editors_window
from tests.e2e.stack import ROOT, Stack, running
from tests.upstream.process import Upstream

BUILT = ROOT / "writer" / "frontend" / "dist" / "manifest.json"
HERE = Path(__file__).resolve().parent


expect.set_options(timeout=20_000)  # as long as any other wait: the machine may have much else to do


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if not item.get_closest_marker("xdist_group"):
                item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="package")
def built() -> None:
    if not BUILT.exists():
        pytest.fail("The pages are not built: npm ci && npm run build in writer/frontend, or `make setup`")


@pytest.fixture(scope="package")
def chrome(built: None) -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    started = Upstream(rate=60)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def stack(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("site"), upstream.url) as started:
        yield started


@pytest.fixture(scope="module")
def sessions(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The cookies of a role that has signed in."""
    folder = tmp_path_factory.mktemp("sessions")

    def of(role: str) -> Path:
        cookie = {"name": "sessionid", "value": stack.accounts[role].session, "domain": "127.0.0.1", "path": "/"}
        kept = folder / f"{role}.json"
        kept.write_text(json.dumps({"cookies": [cookie | {"httpOnly": True, "sameSite": "Lax"}], "origins": []}))
        return kept

    return of


@pytest.fixture
def signed_in_context(chrome: Browser, sessions: Callable[[str], Path]) -> Iterator[BrowserContext]:
    made = chrome.new_context(storage_state=sessions("writer"), viewport={"width": 1100, "height": 800})
    yield made
    made.close()


@pytest.fixture
def desk(signed_in_context: BrowserContext, stack: Stack, upstream: Upstream) -> Desk:
    """A window of the writer, in front of a model that writes 60 words a second."""
    upstream.script(rate=60)
    return window(signed_in_context, stack)


@pytest.fixture
def second_desk(signed_in_context: BrowserContext, stack: Stack) -> Desk:
    return window(signed_in_context, stack)


@pytest.fixture
def context(chrome: Browser, sessions: Callable[[str], Path]) -> Iterator[BrowserContext]:
    """The editor's browser."""
    made = chrome.new_context(storage_state=sessions("editor"), viewport=WIDE)
    yield made
    made.close()


@pytest.fixture
def editor(context: BrowserContext, stack: Stack) -> PairDesk:
    """A window of the editor."""
    return editors_window(context, stack)
