"""The marking page, and the writer's page of notes, as people see them. The pictures go to tests/screenshots/, to be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browser import WATCH
from tests.e2e.room import NO_HIGHLIGHTS, middle
from tests.e2e.stack import Stack
from tests.e2e.test_pages import LOOKS, PROSE, check


@pytest.fixture(params=LOOKS)
def look(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def visit(chrome: Browser, stack: Stack, look: str, sessions: Callable[[str], Path]) -> Iterator[Callable[..., Page]]:
    contexts = []

    def go(path: str, role: str, script: str = "") -> Page:
        context = chrome.new_context(**LOOKS[look], storage_state=sessions(role))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.add_init_script(WATCH + script)
        page.goto(stack.url + path)
        page.wait_for_selector("body[data-ready]")
        return page

    yield go
    for context in contexts:
        context.close()


MARKED = (
    ("The lamp had burned all night", "particular-thing", 1, "", ""),
    ("had burned all night, and nobody in the house would say", "no-moral", 3, "Which <b>house</b>?", "had burned since Michaelmas"),
    ("You might have asked", "said-is-enough", 2, "Twice in two lines.", ""),
    ("There was nobody to ask.", "subtext", 2, "", ""),
    ("and each wrapped in a page of somebody’s letters", "no-moral", 1, "A gift of an ending.", ""),
)  # fmt: skip


def _marked(stack: Stack) -> tuple[str, int]:
    """A story with marks on it, some over each other: its id, and that of the take."""
    given = {
        "title": "What the tide left",
        "premise": "A boat is taken.",
        "target_words": 300,
        "text": PROSE,
        "start": False,
    }
    story = str(stack.api("POST", "/stories", given)["id"])
    stack.api("PUT", f"/stories/{story}/sharing", {"consent": "reading", "given": True})
    take = stack.api("POST", f"/offered/{story}", role="editor")
    versions = {one["key"]: one["version"] for one in stack.api("GET", "/principles", role="editor")}
    for quote, key, severity, note, better in MARKED:
        start = take["text"].index(quote)
        act = {
            "kind": "mark",
            "id": str(uuid4()),
            "take": take["id"],
            "start": start,
            "end": start + len(quote),
            "quote": quote,
        }
        wording = {
            "version": versions.get(key, versions["no-moral"]),
            "severity": severity,
            "note": note,
            "better": better,
        }
        stack.api("PUT", f"/acts/{uuid4().hex}", act | wording, role="editor")
    return story, int(take["id"])


def test_the_marking_page(visit: Callable[..., Page], stack: Stack, look: str) -> None:
    _, take = _marked(stack)
    page = visit(f"/desk/texts/{take}", "editor")
    check(page, "marking", look)
    if look == "phone":
        x, y = middle(page, "burned")
        page.touchscreen.tap(x, y)
        expect(page.locator("#marks [aria-current]")).to_be_in_viewport()
        check(page, "marking-sheet", look)
        page.get_by_role("button", name="Marks").click()
        expect(page.locator("#marks-pane")).to_be_hidden()
        page.evaluate("getSelection().selectAllChildren(document.querySelector('#text > p:nth-child(2)'))")
        page.get_by_role("button", name="Mark", exact=True).tap()
        expect(page.locator("#palette-quote")).to_contain_text("The lamp had burned all night")
        page.locator("#palette-cancel").tap()
        expect(page.locator("#palette")).to_be_hidden()
    page.focus("#text")
    page.keyboard.press("Home")
    for _ in range(2):
        page.keyboard.press("n")
    check(page, "marking-active", look)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("m")
    check(page, "marking-palette", look)
    page.keyboard.type("moral")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("It says what we saw.")
    check(page, "marking-palette-note", look)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    check(page, "marking-keys", look)
    page.keyboard.press("Escape")
    page.route("**/api/acts/*", lambda route: route.abort())
    page.keyboard.press("Delete")
    expect(page.locator("#save-state")).to_have_attribute("data-state", "offline")
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    check(page, "marking-offline", look)


def test_the_marking_page_in_pieces(visit: Callable[..., Page], stack: Stack, look: str) -> None:
    _, take = _marked(stack)
    page = visit(f"/desk/texts/{take}", "editor", NO_HIGHLIGHTS)
    page.focus("#text")
    page.keyboard.press("Home")
    page.keyboard.press("n")
    check(page, "marking-pieces", look)


def test_the_notes_page(visit: Callable[..., Page], stack: Stack, look: str) -> None:
    story, _ = _marked(stack)
    head = stack.story(story)["revision"]
    text = PROSE.replace("There was nobody to ask.", "Nobody was there to be asked.").partition("In the morning")[0]
    save = {"base_revision": head, "absorbed": 0, "text": text, "op_id": uuid4().hex}
    stack.api("PUT", f"/stories/{story}/text", save)
    page = visit(f"/stories/{story}/notes", "writer")
    notes = page.locator("#marks > li")
    expect(notes).to_have_count(len(MARKED))
    states = page.locator("#marks .state").all_text_contents()
    assert {
        "found where it was",
        "the words have changed: this may be the place",
        "the words are not there any more",
    } == set(states)
    editor = stack.accounts["editor"].name
    expect(page.locator("#marks").get_by_text(editor)).to_have_count(len(MARKED))
    if look == "phone":
        expect(notes.first).to_be_hidden()
        check(page, "notes", look)
        page.touchscreen.tap(*middle(page, "burned"))
    else:
        page.mouse.click(*middle(page, "burned"))
    active = page.locator("#marks [aria-current]")
    expect(active).to_be_in_viewport()
    expect(active).to_contain_text("The lamp had burned all night")
    if look == "phone":
        page.touchscreen.tap(*middle(page, "burned"))
    else:
        page.mouse.click(*middle(page, "burned"))
    expect(active).to_contain_text("Which <b>house</b>?")
    active.get_by_role("button", name="Copy").click()
    expect(active.get_by_role("button", name="Copied")).to_be_visible()
    active.get_by_text("What the principle asks").click()
    check(page, "notes-open" if look == "phone" else "notes", look)
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', {value: undefined}); document.execCommand = () => false"
    )
    active.locator(".copy").click()
    expect(active.locator(".copy")).to_have_text("The browser does not allow it: select and copy by hand")
    page.locator("#marks .quote").nth(1).click()
    assert page.locator("#text [contenteditable], main form").count() == 0


def test_notes_of_nobody_and_for_strangers(visit: Callable[..., Page], stack: Stack, look: str) -> None:
    story = stack.new_story(300, start=False, text=PROSE)
    page = visit(f"/stories/{story}/notes", "writer")
    expect(page.get_by_text("Nobody has marked anything yet.")).to_be_attached()
    check(page, "notes-none", look)
    found = page.context.browser.new_context(**LOOKS[look])  # type: ignore[union-attr]
    answer = found.request.get(f"{stack.url}/stories/{story}/notes", max_redirects=0)
    assert answer.status == 302
    found.close()
