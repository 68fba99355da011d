"""With any failure of the connection, marks are not lost, doubled or given to somebody else; and every act can be undone.

What stands on the server is asked over the API.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Route, expect

from tests.e2e.browser import sign_in
from tests.e2e.room import LONG, Room, acts_of, take_of
from tests.e2e.stack import Stack

BUSY = """async () => {
    const database = await new Promise((resolve) => {
        const request = indexedDB.open("longhand");
        request.onsuccess = () => resolve(request.result);
    });
    const store = database.transaction("acts", "readwrite").objectStore("acts");
    await new Promise((resolve) => {
        const hold = () => {
            store.count().onsuccess = hold;  // a transaction lives as long as it is asked something
            resolve();
        };
        hold();
    });
}"""


@pytest.fixture
def browsing(chrome: Browser, sessions: Callable[[str], Path]) -> Iterator[BrowserContext]:
    made = chrome.new_context(storage_state=sessions("editor"), viewport={"width": 1200, "height": 850})
    yield made
    made.close()


@pytest.fixture
def room(browsing: BrowserContext, stack: Stack) -> Room:
    return Room(browsing.new_page(), stack, take_of(stack, LONG)).open()


def test_ten_passages_by_keyboard_while_the_connection_comes_and_goes(room: Room, stack: Stack) -> None:
    page = room.page
    for _ in range(30):
        room.press("Tab")
        if page.evaluate("document.activeElement.id") == "text":
            break
    assert page.evaluate("getSelection().toString()"), "it is seen where the keys begin"
    letters = ["par", "infer", "moral", "price", "vote", "late", "said", "head", "verb", "ready"]
    for number, typed in enumerate(letters):
        if number == 3:
            page.context.set_offline(True)
        if number == 8:
            room.state("offline")
            page.context.set_offline(False)
        room.press("ArrowDown", "ArrowDown", "ArrowRight", "Shift+ArrowRight", *["Shift+ArrowDown"] * (number % 3))
        room.press("m")
        page.keyboard.type(typed)
        if number == 4:  # no principle has these letters
            expect(page.get_by_text("No principle has these words.")).to_be_visible()
            room.press(*["Backspace"] * 4)
            page.keyboard.type("voice")
        room.press("Enter", "3" if number % 2 else "1", "Enter")
    expect(page.locator("#marks > li")).to_have_count(10)
    assert 0 < room.painted() <= 10
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert room.painted() == 10, "all of them on paper"
    room.wait_saved(40)
    marks = room.marks()
    assert len(marks) == 10
    assert len({(mark["start"], mark["end"]) for mark in marks}) == 10
    assert all(mark["quote"] == LONG[mark["start"] : mark["end"]] for mark in marks)
    assert [mark["quote"] for mark in marks] == room.listed()
    assert {mark["severity"] for mark in marks} == {1, 3}
    assert [mark["principle"] for mark in marks][:3] == [
        "The particular thing",
        "Let feeling be inferred",
        "End without a moral",
    ]
    assert acts_of(stack, room.take) == ["mark"] * 10
    assert page.evaluate("document.activeElement.id") == "text"
    room.no_complaints()


def test_answers_that_are_lost_make_no_second_mark(room: Room, stack: Stack) -> None:
    lost: list[str] = []

    def lose(route: Route) -> None:
        if len(lost) < 3:
            route.fetch()
            lost.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    room.page.route("**/api/acts/*", lose)
    room.page.focus("#text")
    for _ in range(3):
        room.press("ArrowDown", "Shift+ArrowRight")
        room.mark()
    room.state("offline")
    room.wait_saved(30)
    assert len(lost) == 3
    assert len(set(lost)) < 3, "the same act was sent again"
    assert len(room.marks()) == 3
    assert acts_of(stack, room.take) == ["mark"] * 3


def test_a_reload_while_nothing_gets_through(room: Room, stack: Stack) -> None:
    page = room.page
    page.focus("#text")
    room.press("ArrowDown", "Shift+ArrowRight")
    room.mark("par")
    expect(page.locator("#marks > li")).to_have_count(1)
    room.wait_saved()
    page.route("**/api/acts/*", lambda route: route.abort())
    room.press("e", "Tab", "Tab", "1")
    page.keyboard.press("Control+Enter")
    for _ in range(2):
        room.press("ArrowDown", "Shift+ArrowRight")
        room.mark("moral")
    room.press("u")
    expect(page.locator("#marks > li")).to_have_count(2)
    room.state("offline")
    listed = room.listed()
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert (room.listed(), room.painted()) == (listed, 2)
    expect(page.locator("#marks .severity").first).to_have_text("Minor")
    room.state("offline")
    expect(page.locator("#undo")).to_contain_text("Mark: End without a moral")
    assert len(room.marks()) == 1
    page.unroute("**/api/acts/*")
    room.wait_saved(30)
    marks = room.marks()
    assert [mark["quote"] for mark in marks] == listed
    assert [(mark["principle"], mark["severity"]) for mark in marks] == [
        ("The particular thing", 1),
        ("End without a moral", 2),
    ]
    room.no_complaints()


def test_a_reload_before_anything_is_written_down(room: Room, stack: Stack) -> None:
    room.page.focus("#text")
    room.press("ArrowDown")
    room.page.evaluate(BUSY)
    room.mark()
    room.page.reload()
    room.page.wait_for_selector("body[data-ready]")
    expect(room.page.locator("#marks > li")).to_have_count(1)
    room.wait_saved()
    assert len(room.marks()) == 1
    assert room.page.evaluate("Object.keys(localStorage).filter(name => name.startsWith('longhand:left:'))") == []


def test_the_session_expires(room: Room, stack: Stack) -> None:
    page = room.page
    page.context.clear_cookies()
    page.focus("#text")
    for typed in ("par", "moral"):
        room.press("ArrowDown", "Shift+ArrowRight")
        room.mark(typed)
    link = page.get_by_role("link", name="Sign in in a new tab")
    expect(link).to_be_visible(timeout=10_000)
    expect(page.locator("#save-state")).to_have_text("Signed out: kept in this browser")
    assert (room.marks(), room.painted()) == ([], 2)
    with page.context.expect_page() as opened:
        link.click()
    tab = opened.value
    account = stack.accounts["editor"]
    tab.get_by_label("Email").fill(account.email)
    tab.get_by_label("Password").fill(account.password)
    tab.get_by_role("button", name="Sign in").click()
    tab.wait_for_url(re.compile(rf"/desk/texts/{room.take}"))
    tab.close()
    page.bring_to_front()
    room.wait_saved(30)
    assert [mark["principle"] for mark in room.marks()] == ["The particular thing", "End without a moral"]
    assert acts_of(stack, room.take) == ["mark"] * 2


def test_another_person_signs_in(room: Room, stack: Stack) -> None:
    """What one editor did is not sent as the act of another one who uses the same browser."""
    page, browsing = room.page, room.page.context
    page.focus("#text")
    page.route("**/api/acts/*", lambda route: route.abort())
    room.press("ArrowDown", "Shift+ArrowRight")
    room.mark()
    room.state("offline")
    browsing.clear_cookies()
    other = Room(browsing.new_page(), stack, room.take)
    sign_in(other.page, stack, stack.accounts["admin"])
    page.unroute("**/api/acts/*")
    page.evaluate("dispatchEvent(new Event('online'))")
    room.state("signed-out")
    expect(page.locator("#save-state")).to_contain_text("somebody else is signed in")
    other.open()
    assert other.listed() == []
    expect(other.page.locator("#undo")).to_be_disabled()
    assert acts_of(stack, room.take) == []
    other.page.close()
    browsing.clear_cookies()
    back = browsing.new_page()
    sign_in(back, stack, stack.accounts["editor"])
    back.close()
    room.wait_saved(40)
    assert [mark["quote"] for mark in room.marks()] == room.listed()


def test_every_act_is_undone_by_a_key(room: Room, stack: Stack) -> None:
    page = room.page
    page.focus("#text")
    room.press("ArrowDown", "Shift+ArrowRight", "Shift+ArrowRight")
    room.mark("par")
    room.press("e")
    expect(page.locator("#palette-better")).to_have_value(room.listed()[0])
    page.keyboard.type("moral")
    room.press("Enter", "3", "Tab")
    page.keyboard.type("Too neat.")
    room.press("Tab")
    page.keyboard.press("Control+a")
    page.keyboard.type("The lamp")
    page.keyboard.press("Control+Enter")
    room.wait_saved()
    expect(page.locator("#marks > li")).to_contain_text("Too neat.")
    changed = {"principle": "End without a moral", "severity": 3, "note": "Too neat.", "better": "The lamp"}
    assert [{name: mark[name] for name in changed} for mark in room.marks()] == [changed]
    room.press("Delete")
    expect(page.locator("#marks > li")).to_have_count(0)
    room.wait_saved()
    assert room.marks() == []

    expect(page.locator("#undo")).to_contain_text("Remove: End without a moral")
    room.press("u")
    expect(page.locator("#marks > li")).to_contain_text("Too neat.")
    expect(page.locator("#undo")).to_contain_text("Change: End without a moral")
    room.wait_saved()
    assert [{name: mark[name] for name in changed} for mark in room.marks()] == [changed]
    page.keyboard.press("Control+z")
    expect(page.locator("#marks .principle")).to_have_text("The particular thing")
    room.wait_saved()
    assert [(mark["severity"], mark["note"], mark["better"]) for mark in room.marks()] == [(2, "", "")]
    room.press("u")
    expect(page.locator("#marks > li")).to_have_count(0)
    expect(page.locator("#undo")).to_be_disabled()
    room.wait_saved()
    assert (room.marks(), room.painted()) == ([], 0)
    room.press("u")
    expect(page.get_by_role("status").last).to_have_text("There is nothing to undo.")
    room.no_complaints()


def test_undo_reaches_back_to_another_page(room: Room, browsing: BrowserContext, stack: Stack) -> None:
    room.page.focus("#text")
    room.press("ArrowDown")
    room.mark()
    expect(room.page.locator("#marks > li")).to_have_count(1)
    room.wait_saved()
    second = Room(room.page, stack, take_of(stack, LONG, title="Another")).open()
    expect(second.page.locator("#undo")).to_contain_text("Mark: The particular thing (another page)")
    second.page.get_by_role("button", name="Undo").click()
    link = second.page.get_by_role("link", name="It was done on this page")
    expect(link).to_be_visible()
    second.wait_saved()
    assert room.marks() == []
    link.click()
    expect(room.page.locator("#no-marks")).to_be_visible()


def test_what_the_server_refuses_is_taken_back(room: Room) -> None:
    page = room.page

    def refuse(route: Route) -> None:
        route.fulfill(status=422, json={"detail": "These are not the words that stand there."})

    page.route("**/api/acts/*", refuse)
    page.focus("#text")
    room.press("ArrowDown")
    room.mark()
    expect(page.get_by_role("alert")).to_have_text("Not saved: These are not the words that stand there.")
    expect(page.locator("#marks > li")).to_have_count(0)
    assert room.painted() == 0
    page.unroute("**/api/acts/*")
    room.mark("moral")
    expect(page.locator("#marks > li")).to_have_count(1)
    room.wait_saved()
    expect(page.get_by_role("alert")).to_be_hidden()
    assert len(room.marks()) == 1


def test_a_text_that_is_not_offered_any_more(browsing: BrowserContext, stack: Stack) -> None:
    given = {"title": "Taken back", "premise": "It was.", "target_words": 300, "text": LONG, "start": False}
    story = stack.api("POST", "/stories", given)["id"]
    stack.api("PUT", f"/stories/{story}/sharing", {"consent": "reading", "given": True})
    room = Room(browsing.new_page(), stack, stack.api("POST", f"/offered/{story}", role="editor")["id"]).open()
    room.page.focus("#text")
    room.press("ArrowDown")
    room.mark()
    room.wait_saved()
    stack.api("PUT", f"/stories/{story}/sharing", {"consent": "reading", "given": False})
    room.press("ArrowDown")
    room.mark("moral")
    expect(room.page.get_by_role("alert")).to_contain_text("Not saved")
    expect(room.page.locator("#marks > li")).to_have_count(1)


def test_another_window_shows_the_same_marks(room: Room, browsing: BrowserContext, stack: Stack) -> None:
    second = Room(browsing.new_page(), stack, room.take).open()
    second.page.focus("#text")
    second.press("ArrowDown")
    second.mark()
    expect(second.page.locator("#marks > li")).to_have_count(1)
    second.wait_saved()
    room.page.bring_to_front()
    room.page.evaluate("document.dispatchEvent(new Event('visibilitychange')); dispatchEvent(new Event('focus'))")
    expect(room.page.locator("#marks > li")).to_have_count(1)
    expect(room.page.locator("#undo")).to_contain_text("Mark: The particular thing")
    room.page.focus("#text")
    room.press("u")
    expect(room.page.locator("#marks > li")).to_have_count(0)
    room.wait_saved()
    assert room.marks() == []


def test_a_text_is_finished(room: Room, stack: Stack) -> None:
    page = room.page
    page.get_by_role("button", name="I have read it").click()
    expect(page.get_by_text("You have said that you finished")).to_be_visible()
    room.wait_saved()
    done = f"from writer.editorial.models import Sitting\nprint(Sitting.objects.get(take={room.take}).done is not None)"
    assert stack.run(done).strip() == "True"
    page.keyboard.press("Control+z")
    expect(page.get_by_role("button", name="I have read it")).to_be_visible()
    room.wait_saved()
    assert stack.run(done).strip() == "False"
