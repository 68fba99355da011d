"""The browser tests of a file run one after another in one process: they share a browser and a house of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.e2e.browser import Desk, chromium, sign_in, window
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
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="package")
def built() -> None:
    if not BUILT.exists():
        pytest.fail("The pages are not built: npm ci && npm run build in writer/frontend, or `make setup`")


@pytest.fixture(scope="module")
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
    with running(tmp_path_factory.mktemp("house"), upstream.url) as started:
        yield started


@pytest.fixture(scope="module")
def sessions(chrome: Browser, stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The cookies of a role, who signs in on the page the first time."""
    folder = tmp_path_factory.mktemp("sessions")

    def of(role: str) -> Path:
        kept = folder / f"{role}.json"
        if not kept.exists():
            context = chrome.new_context()
            sign_in(context.new_page(), stack, stack.accounts[role])
            context.storage_state(path=kept)
            context.close()
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
