"""Chromium, and the drafting page as a page object."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect, sync_playwright

from scripts.bootstrap import BROWSERS
from tests.e2e.stack import Account, Stack, sha256

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective + " " + event.blockedURI));
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.fail("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


def sign_in(page: Page, stack: Stack, account: Account) -> None:
    page.goto(f"{stack.url}/account/login/")
    page.get_by_label("Email").fill(account.email)
    page.get_by_label("Password").fill(account.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{stack.url}/")


def confirm(page: Page, account: Account) -> None:
    """The password again, where it is asked for."""
    if "reauthenticate" in page.url:
        page.get_by_label("Password").fill(account.password)
        page.get_by_role("button", name="Confirm").click()


class Desk:
    """One window on one story."""

    def __init__(self, page: Page, stack: Stack) -> None:
        self.page, self.stack = page, stack
        self.complaints: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, story_id: str) -> Desk:
        self.page.goto(f"{self.stack.url}/stories/{story_id}")
        expect(self.prose).to_be_visible()
        return self

    @property
    def story_id(self) -> str:
        found = re.search(r"/stories/([0-9a-f-]{36})", self.page.url)
        assert found, self.page.url
        return found[1]

    @property
    def prose(self) -> Locator:
        return self.page.locator(".prose")

    def paragraph(self, number: int) -> Locator:
        return self.page.locator(".prose > p").nth(number - 1)

    def text(self) -> str:
        """What stands on the page, character for character."""
        blocks: list[str] = self.page.eval_on_selector_all(
            ".prose > *",
            """blocks => blocks.map(block => {
                const copy = block.cloneNode(true);
                copy.querySelectorAll('.ProseMirror-trailingBreak, .ProseMirror-separator').forEach(node => node.remove());
                return copy.textContent;
            })""",
        )
        return "\n\n".join(block for block in blocks if block.strip())

    def wait_words(self, words: int, seconds: float = 30) -> None:
        """Wait, across a change of pages too, until a story's page counts so many `words`."""
        self.page.wait_for_function(
            "words => Number((document.getElementById('words')?.textContent ?? '').replace(/,/g, '').split(' ')[0]) >= words",
            arg=words,
            timeout=seconds * 1000,
        )

    def wait_state(self, state: str, seconds: float = 60) -> None:
        self.page.wait_for_selector(f"body[data-state={state}]", timeout=seconds * 1000)

    def wait_saved(self, seconds: float = 15) -> None:
        expect(self.page.locator("#save-state")).to_have_text("Saved", timeout=seconds * 1000)

    def write_at_end_of(self, number: int, text: str) -> None:
        self.put_caret(number, at_end=True)
        self.page.keyboard.insert_text(text)

    def put_caret(self, number: int, *, at_end: bool) -> None:
        self.page.evaluate(
            """([number, end]) => {
                const block = document.querySelectorAll('.prose > p')[number - 1];
                document.querySelector('.prose').focus();
                const range = document.createRange();
                range.selectNodeContents(block);
                range.collapse(!end);
                const selection = getSelection();
                selection.removeAllRanges();
                selection.addRange(range);
            }""",
            [number, at_end],
        )

    def same_as_server(self) -> dict[str, Any]:
        story = self.stack.story(self.story_id)
        assert sha256(self.text()) == story["full_sha256"], f"{self.text()!r}\n\nis not\n\n{story['full_text']!r}"
        return story

    def no_complaints(self) -> None:
        violations = self.page.evaluate("window.violations")
        assert violations == []
        assert [text for text in self.complaints if "Content Security Policy" in text or "Error" in text] == []


def window(context: BrowserContext, stack: Stack) -> Desk:
    page = context.new_page()
    page.add_init_script(WATCH)
    page.set_default_timeout(20_000)
    return Desk(page, stack)
