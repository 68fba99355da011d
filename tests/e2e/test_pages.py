"""Every page as a person sees it: light, dark and on a phone, without a complaint of axe or of the content policy.

The pictures go to tests/screenshots/, to be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browser import WATCH, Desk
from tests.e2e.stack import ROOT, Stack
from tests.upstream.process import Upstream

PICTURES = ROOT / "tests" / "screenshots"
AXE = ROOT / "writer" / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1200, "height": 850}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1200, "height": 850}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "color_scheme": "light", "has_touch": True},
}
PROSE = """## The harbour

The lamp had burned all night, and nobody in the house would say who had lit it. Old Marten came down the stairs in his stockings, \
looked at it for some time, and went out *without a word* to see to the boats.

“You might have asked,” said his daughter, when he came back. “You might at least have asked.”

“Asked whom?” He hung the wet coat on its nail. “There was nobody to ask. There has been nobody since Michaelmas, 🌊 and well you know it.”

* * *

In the morning the tide had taken the small boat, and with it the *oars*, the lantern and the dog’s blanket. What it had left in exchange was a \
crate of oranges, every one of them sound, and each wrapped in a page of somebody’s letters.
"""


@dataclass(frozen=True)
class Examples:
    stack: Stack
    finished: str
    written: str
    paused: str


@pytest.fixture(scope="module")
def examples(stack: Stack, upstream: Upstream) -> Examples:
    """A few stories in the states that a list shows, and an open invitation."""
    upstream.script(rate=150)
    finished = stack.api("POST", "/stories", {
        "title": "What the tide left", "premise": "A boat is taken, and something is given for it.", "target_words": 300, "text": PROSE,
    })["id"]  # fmt: skip
    written = stack.new_story(
        20_000,
        title="The keeper of the second light",
        premise="He counts the waves. <b>All</b> of them.",
        text=PROSE.replace("🌊 ", ""),
    )
    paused = stack.new_story(
        3_000, title="<script>alert(1)</script> and other letters to an unusually patient correspondent"
    )
    stack.new_story(1_500, start=False, title="Not begun")
    stack.wait_words(paused, 80)
    stack.api("POST", f"/generations/{stack.story(paused)['generation']['id']}/pause")
    stack.wait_state(paused, "paused")
    stack.wait_state(finished, "done")
    upstream.script(rate=8)
    return Examples(stack, finished, written, paused)


@pytest.fixture(params=LOOKS)
def look(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def visit(
    chrome: Browser, examples: Examples, look: str, sessions: Callable[[str], Path]
) -> Iterator[Callable[..., Page]]:
    contexts = []

    def go(path: str, role: str | None = "writer") -> Page:
        context = chrome.new_context(**LOOKS[look], storage_state=sessions(role) if role else None)
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(WATCH)
        page.goto(examples.stack.url + path)
        return page

    yield go
    for context in contexts:
        context.close()


def check(page: Page, name: str, look: str) -> None:
    """A picture, no violation of the policy, nothing wider than the window, and axe is content."""
    page.wait_for_timeout(250)
    page.evaluate("document.fonts.ready")
    PICTURES.mkdir(exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}-{look}.png")
    assert page.evaluate("window.violations") == []
    width, inner = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width <= inner, f"{name} is {width} px wide in a window of {inner}"
    complaints = axe(page)
    assert complaints == [], complaints


def axe(page: Page) -> list[str]:
    """What axe-core finds. It is evaluated by the debugger, which the page's policy does not concern."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {one['help']} ({', '.join(node['html'][:120] for node in one['nodes'][:3])})"
        for one in found["violations"]
    ]


def test_sign_in(visit: Callable[..., Page], look: str) -> None:
    page = visit("/account/login/", None)
    check(page, "sign-in", look)
    page.get_by_label("Email").fill("nobody@example.org")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    check(page, "sign-in-refused", look)


def test_list(visit: Callable[..., Page], examples: Examples, look: str) -> None:
    page = visit("/")
    expect(page.get_by_text("<script>alert(1)</script>")).to_be_visible()
    check(page, "list", look)


def test_nothing_to_list(visit: Callable[..., Page], look: str) -> None:
    check(visit("/", "editor"), "list-empty", look)


def test_new_story(visit: Callable[..., Page], look: str) -> None:
    page = visit("/new")
    check(page, "new", look)
    page.get_by_label("Title").fill("Kept")
    page.get_by_label("Words").fill("12")
    page.get_by_role("button", name="Begin writing").click()
    expect(page.get_by_label("Title")).to_have_value("Kept")
    expect(page.get_by_label("Words")).to_have_value("12")
    expect(page.locator(".error-text").first).to_be_visible()
    check(page, "new-refused", look)


@pytest.mark.parametrize("which", ["finished", "written", "paused"])
def test_story(visit: Callable[..., Page], examples: Examples, look: str, which: str) -> None:
    page = visit(f"/stories/{getattr(examples, which)}")
    expect(page.locator(".prose")).to_be_visible()
    page.wait_for_timeout(3_200 if which == "written" else 200)
    check(page, f"story-{which}", look)
    page.get_by_text("Premise", exact=True).click()
    page.get_by_text("More", exact=True).click()
    check(page, f"story-{which}-open", look)
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    check(page, f"story-{which}-end", look)


def test_title_and_premise(visit: Callable[..., Page], examples: Examples, look: str) -> None:
    page = visit(f"/stories/{examples.paused}")
    page.get_by_text("Premise", exact=True).click()
    page.get_by_role("link", name="Change the title or the premise").click()
    page.get_by_label("Premise").fill("")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Please write a premise.")).to_be_visible()
    check(page, "about-refused", look)


def test_conflict(visit: Callable[..., Page], examples: Examples, look: str) -> None:
    story_id = examples.stack.api("POST", "/stories", {
        "title": "Two hands", "premise": "Two windows.", "target_words": 900, "text": PROSE, "start": False,
    })["id"]  # fmt: skip
    page = visit(f"/stories/{story_id}")
    desk = Desk(page, examples.stack)
    story = examples.stack.story(story_id)
    save = {
        "base_revision": story["revision"],
        "absorbed": 0,
        "text": PROSE.replace("oranges", "lemons"),
        "op_id": "elsewhere",
    }
    examples.stack.api("PUT", f"/stories/{story_id}/text", save)
    desk.put_caret(2, at_end=True)
    page.keyboard.insert_text(" He never came back.")
    expect(page.locator("#conflict")).to_be_visible()
    check(page, "conflict", look)


def test_constitution(visit: Callable[..., Page], look: str) -> None:
    page = visit("/constitution/", "editor")
    check(page, "constitution", look)
    page.get_by_role("link", name="Let feeling be inferred").click()
    check(page, "principle", look)
    page.get_by_role("link", name="Edit", exact=True).click()
    page.get_by_label("Name", exact=True).fill("")
    page.get_by_label("The same, better said").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The name is empty")).to_be_visible()
    check(page, "principle-refused", look)


def test_account(visit: Callable[..., Page], look: str) -> None:
    page = visit("/account/")
    check(page, "account", look)
    page.get_by_label("Name of a new token").fill("a script")
    page.get_by_role("button", name="Make a token").click()
    assert page.get_by_label("The new token").input_value().startswith("lh_")
    check(page, "account-token", look)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("password", "/account/password/change/"),
        ("two-factor", "/account/2fa/"),
        ("sessions", "/account/sessions/"),
        ("sign-out", "/account/logout/"),
        ("delete", "/account/delete"),
    ],
)
def test_smaller_pages(visit: Callable[..., Page], look: str, name: str, path: str) -> None:
    check(visit(path), name, look)


@pytest.mark.parametrize(("name", "path", "role"), [("help", "", None), ("help-page", "use/admin", "admin")])
def test_help(visit: Callable[..., Page], look: str, name: str, path: str, role: str | None) -> None:
    page = visit(f"/help/{path}", role)
    for picture in page.locator("main img").all():
        expect(picture).to_have_js_property("naturalWidth", 1000)
    check(page, name, look)


def test_people_and_the_way_in(visit: Callable[..., Page], examples: Examples, look: str) -> None:
    page = visit("/account/people", "admin")
    check(page, "people", look)
    page.get_by_label("Email").fill(f"new-{look}@example.org")
    page.get_by_role("button", name="Invite").click()
    link = page.get_by_label("The link of the invitation").input_value()
    check(page, "people-invited", look)
    guest = visit(urlsplit(link).path, None)
    check(guest, "invitation", look)
    guest.get_by_label("Your name").fill("New Person")
    guest.get_by_label("Password", exact=True).fill("a kettle of hawks")
    guest.get_by_label("Password, once more").fill("a kettle of hawks!")
    guest.get_by_role("button", name="Make my account").click()
    expect(guest.get_by_text("The two passwords differ.")).to_be_visible()
    check(guest, "invitation-refused", look)
    guest.get_by_label("Password", exact=True).fill("a kettle of hawks")
    guest.get_by_label("Password, once more").fill("a kettle of hawks")
    guest.get_by_role("button", name="Make my account").click()
    expect(guest.get_by_role("heading", name="My stories")).to_be_visible()
    check(visit("/account/invitation/nothing", None), "invitation-over", look)
    page.goto(f"{examples.stack.url}/account/people")
    page.locator("li", has_text=f"new-{look}@example.org").get_by_role("button", name="New password").click()
    link = page.get_by_label("The link to a new password").input_value()
    check(page, "people-password", look)
    guest = visit(urlsplit(link).path, None)
    check(guest, "new-password", look)
    guest.get_by_label("New Password", exact=True).fill("a kettle of herons")
    guest.get_by_label("New Password (again)").fill("a kettle of herons")
    guest.get_by_role("button", name="Set the password").click()
    check(guest, "new-password-set", look)
    check(visit(urlsplit(link).path, None), "new-password-over", look)
