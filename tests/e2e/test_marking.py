"""An editor marks a long text, and nothing that was marked is lost, doubled or put on other words.

What stands on the server is asked over the API; the pictures go to tests/screenshots/, to be looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from tests.e2e.browser import WATCH, sign_in
from tests.e2e.stack import Stack
from tests.e2e.test_pages import LOOKS, PROSE, check

PASSAGE = (
    "The lamp had burned all night, and nobody in the house would say who had lit it. Old Marten came down the stairs in "
    "his stockings, looked at it for some time, and went out *without a word* to see to the boats. It was number {}."
)
LONG = "\n\n".join(
    [
        "## The harbour",
        *(PASSAGE.format(n) for n in range(1, 60)),
        "* * *",
        *(PASSAGE.format(n) for n in range(60, 120)),
    ]
)
PAYLOAD = '<script>document.title = "owned"</script><img src=x onerror="document.title=1"> &amp; {{ 7|add:1 }}'
SCRIPTS = "\n\n".join([  # noqa: FLY002
    "A 🌊 wave and a 👩‍🚀 astronaut ate cafe\u0301s, n\u0303o, 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 and 🏳️‍🌈 flags.",
    "שלום לכולם 🌊, הים היה שקט. והלילה ירד על הנמל.",
    "孔乙己是站着喝酒而穿长衫的唯一的人。𠮷野家 他身材很高大。",
    PAYLOAD,
    "*All of it* is **quoted** and the end is *here*.",
])  # fmt: skip


class Room:
    """An editor's window on one text."""

    def __init__(self, page: Page, stack: Stack, take: int) -> None:
        self.page, self.stack, self.take = page, stack, take
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.set_default_timeout(20_000)
        page.add_init_script(WATCH)

    def open(self) -> Room:
        self.page.goto(f"{self.stack.url}/desk/texts/{self.take}")
        self.page.wait_for_selector("body[data-ready]")
        return self

    def marks(self) -> list[dict[str, Any]]:
        """As the server has them."""
        return list(self.stack.api("GET", f"/takes/{self.take}/marks", role="editor"))

    def listed(self) -> list[str]:
        """As the page lists them."""
        quotes: list[str] = self.page.locator("#marks .quote").evaluate_all("all => all.map(one => one.textContent)")
        return quotes

    def painted(self) -> int:
        """How many ranges the browser paints as marks: those near the window."""
        count: int = self.page.evaluate(
            "['minor', 'major', 'critical'].reduce((sum, name) => sum + (CSS.highlights.get('mark-' + name)?.size ?? 0), 0)"
        )
        return count

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def mark(self, letters: str = "par") -> None:
        """The shortest path, from words that are selected."""
        self.press("m")
        self.page.keyboard.type(letters)
        self.press("Enter", "Enter")

    def wait_saved(self, seconds: float = 15) -> None:
        expect(self.page.locator("#save-state")).to_have_text("Saved", timeout=seconds * 1000)

    def state(self, state: str) -> None:
        expect(self.page.locator("#save-state")).to_have_attribute("data-state", state, timeout=15_000)

    def no_complaints(self) -> None:
        assert self.page.evaluate("window.violations") == []
        assert self.complaints == []


def take_of(stack: Stack, text: str, **fields: str) -> int:
    """The take of a new story that its writer offers."""
    given = {
        "title": "What the tide left",
        "premise": "A boat is taken.",
        "target_words": 300,
        "text": text,
        "start": False,
    }
    story = stack.api("POST", "/stories", given | fields)["id"]
    stack.api("PUT", f"/stories/{story}/sharing", {"consent": "reading", "given": True})
    return int(stack.api("POST", f"/offered/{story}", role="editor")["id"])


@pytest.fixture
def browsing(chrome: Browser, sessions: Callable[[str], Path]) -> Iterator[BrowserContext]:
    made = chrome.new_context(storage_state=sessions("editor"), viewport={"width": 1200, "height": 850})
    yield made
    made.close()


@pytest.fixture
def room(browsing: BrowserContext, stack: Stack) -> Room:
    return Room(browsing.new_page(), stack, take_of(stack, LONG)).open()


def acts_of(stack: Stack, take: int) -> list[str]:
    """The kinds of all acts on a text that the server stored, whatever became of them, in order."""
    found = stack.run(
        "from writer.editorial.models import Act, Mark\n"
        f"ids = [str(pk) for pk in Mark.objects.filter(take={take}).values_list('pk', flat=True)]\n"
        "print(*Act.objects.filter(subject__in=ids).order_by('at', 'pk').values_list('kind', flat=True))"
    )
    return found.split()


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


def test_marks_are_painted_where_somebody_looks(room: Room) -> None:
    page = room.page
    page.focus("#text")
    room.press("ArrowDown", "Shift+ArrowRight")
    room.mark()
    room.press("End", "Shift+ArrowLeft")
    room.mark("moral")
    room.wait_saved()
    page.reload()
    page.wait_for_selector("body[data-ready]")
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_function("() => CSS.highlights.get('mark-major')?.size === 1")

    def where(layer: str) -> str:
        return f"[...CSS.highlights.get('mark-{layer}')].map(range => range.startContainer.data).join()"

    assert page.evaluate(where("major")).startswith("The lamp")
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    page.wait_for_function(f"() => {where('major')}.includes('119.')")
    page.focus("#text")
    room.press("Home", "n", "n")
    expect(page.locator("#marks [aria-current] .principle")).to_have_text("End without a moral")
    page.wait_for_function(f"() => {where('active')}.includes('119.')")


def test_marks_over_each_other(room: Room) -> None:
    page = room.page
    page.focus("#text")
    room.press("ArrowDown", "Shift+ArrowDown")  # a sentence,
    room.mark("moral")
    room.press("Home", "ArrowDown", "ArrowRight", "Shift+ArrowRight")  # two words in it,
    room.mark("said")
    room.press("ArrowLeft", "ArrowRight", "ArrowRight", *["Shift+ArrowRight"] * 20)  # and some that begin in it
    room.mark("par")
    expect(page.locator("#marks > li")).to_have_count(3)
    room.wait_saved()
    marks = room.marks()
    assert marks[1]["end"] <= marks[0]["end"] < marks[2]["end"], "two lie in the first, the third reaches out of it"
    assert page.evaluate("[CSS.highlights.get('mark-major').size, CSS.highlights.get('mark-over').size > 0]") == [
        3,
        True,
    ]

    # A click on words goes through the marks on them, the shortest first.
    page.mouse.click(*_middle(page, "lamp"))
    active = page.locator("#marks [aria-current] .principle")
    expect(active).to_have_text("Said is enough")
    page.mouse.click(*_middle(page, "lamp"))
    expect(active).to_have_text("End without a moral")
    page.mouse.click(*_middle(page, "lamp"))
    expect(active).to_have_text("Said is enough")
    # n and p go through all of them; e and Delete mean the active one.
    room.press("n")
    expect(active).to_have_text("The particular thing")
    room.press("p", "p")
    expect(active).to_have_text("End without a moral")
    room.press("n", "Delete")
    expect(page.locator("#marks > li")).to_have_count(2)
    room.wait_saved()
    assert {mark["principle"] for mark in room.marks()} == {"End without a moral", "The particular thing"}
    # By Tab in the list
    page.locator("#show-keys").focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    expect(page.locator("#marks [aria-current]")).to_have_count(1)


def _middle(page: Page, word: str) -> tuple[float, float]:
    """Where a word stands in the window, the first time that it is in the text."""
    x, y = page.evaluate(
        """word => {
            const walker = document.createTreeWalker(document.getElementById('text'), NodeFilter.SHOW_TEXT);
            for (let node; (node = walker.nextNode()); ) {
                const at = node.data.indexOf(word);
                if (at < 0) continue;
                const range = document.createRange();
                range.setStart(node, at);
                range.setEnd(node, at + word.length);
                const box = range.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }
        }""",
        word,
    )
    return x, y


def test_by_mouse(room: Room) -> None:
    page = room.page
    (x, y), (x2, y2) = _middle(page, "burned"), _middle(page, "nobody")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x2, y2, steps=5)
    page.mouse.up()
    selected = page.evaluate("getSelection().toString()").strip()
    page.get_by_role("button", name="Mark", exact=True).click()
    expect(page.locator("#palette-quote")).to_have_text(selected)
    page.get_by_role("option", name="One head at a time").click()
    page.get_by_label("Critical").check()
    page.locator("#palette-store").click()
    expect(page.locator("#marks > li")).to_have_count(1)
    room.wait_saved()
    assert [(mark["quote"], mark["principle"], mark["severity"]) for mark in room.marks()] == [
        (selected, "One head at a time", 3)
    ]
    # A press beside an untouched palette closes it; what was written in it stays.
    page.locator("#marks .edit").click()
    expect(page.locator("#palette")).to_be_visible()
    page.mouse.click(20, 400)
    expect(page.locator("#palette")).to_be_hidden()
    page.locator("#marks .edit").click()
    page.get_by_label("Note").fill("Not to be lost")
    page.mouse.click(20, 400)
    expect(page.get_by_label("Note")).to_have_value("Not to be lost")
    page.get_by_role("button", name="Change the mark").click()
    page.locator("#marks .remove").click()
    expect(page.locator("#marks > li")).to_have_count(0)


def test_the_cursor_follows_who_reads(room: Room) -> None:
    page = room.page
    page.focus("#text")
    seen = """() => {
        const box = getSelection().getRangeAt(0).getBoundingClientRect();
        return [box.height > 0 && box.top >= 0 && box.bottom <= innerHeight, Math.round(scrollY), getSelection().toString()];
    }"""
    before = 0
    for _ in range(3):
        room.press("PageDown")
        inside, now, _words = page.evaluate(seen)
        assert inside
        assert now > before + 400, "a window at a time"
        before = now
    page.mouse.move(400, 400)
    page.mouse.wheel(0, 6000)
    page.wait_for_function("before => scrollY > before + 4000", arg=before)
    page.wait_for_timeout(200)
    away = page.evaluate("scrollY")
    room.press("ArrowRight")
    inside, now, _words = page.evaluate(seen)
    assert inside
    assert abs(now - away) < 300, "the cursor comes to the reader, not the reader to the cursor"
    room.press("PageUp")
    assert page.evaluate(seen)[0]
    room.press("End")
    assert page.evaluate(seen)[2] == "119"
    room.press("Home")
    assert page.evaluate(seen) == [True, 0, "The"]
    room.press("Shift+End", "m")
    expect(page.get_by_role("alert")).to_contain_text("5,000 can be marked at once.")
    expect(page.locator("#palette")).to_be_hidden()


def test_the_palette_gives_the_words_back(room: Room) -> None:
    page = room.page
    page.focus("#text")
    room.press("ArrowDown", "Shift+ArrowRight", "Shift+ArrowRight")
    selected = page.evaluate("getSelection().toString()")
    room.press("m")
    expect(page.get_by_role("combobox")).to_be_focused()
    room.press("ArrowDown", "ArrowDown", "ArrowUp")
    chosen = page.locator("#palette-list [aria-selected=true]")
    assert chosen.get_attribute("id") == page.get_by_role("combobox").get_attribute("aria-activedescendant")
    expect(page.locator("#palette-name")).to_have_text(chosen.inner_text())
    room.press("3", "Escape")
    expect(page.locator("#palette")).to_be_hidden()
    assert page.evaluate("[document.activeElement.id, getSelection().toString()]") == ["text", selected]
    # Keys are letters again wherever somebody types, and do nothing where nothing is meant.
    page.locator("#undo").evaluate("button => button.disabled = false")
    page.locator("#undo").focus()
    room.press("m", "n", "e", "Delete")
    expect(page.locator("#palette")).to_be_hidden()
    # The one used last comes first.
    page.focus("#text")
    room.mark("ready")
    room.press("ArrowDown", "m")
    expect(page.locator("#palette-list > li").first).to_have_text("No phrase that comes ready-made")


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


NO_HIGHLIGHTS = "delete CSS.highlights; delete window.Highlight;"


def _shown(page: Page) -> str:
    return "\n\n".join(page.locator("#text > p").evaluate_all("all => all.map(p => p.textContent)"))


def test_without_highlights(browsing: BrowserContext, stack: Stack) -> None:
    page = browsing.new_page()
    page.add_init_script(NO_HIGHLIGHTS)
    room = Room(page, stack, take_of(stack, LONG)).open()
    assert page.evaluate("'highlights' in CSS") is False
    page.focus("#text")
    room.press("ArrowDown", "Shift+ArrowDown")
    selected = page.evaluate("getSelection().toString()")
    room.press("m")
    expect(page.locator("#text .mark-chosen").first).to_be_visible()
    page.keyboard.type("moral")
    room.press("Enter", "Enter")
    expect(page.locator("#text .mark-major").first).to_be_visible()
    expect(page.locator("#text .mark-chosen")).to_have_count(0)
    assert page.evaluate("getSelection().toString()") == selected
    room.press("Home", "ArrowDown", "ArrowRight", "Shift+ArrowRight", "m")
    page.keyboard.type("said")
    room.press("Enter", "3", "Enter")
    both = page.locator("#text .mark-major.mark-critical.mark-over")
    expect(both.first).to_be_visible()
    page.mouse.click(*_middle(page, "lamp"))
    expect(page.locator("#text .mark-active").first).to_be_visible()
    assert _shown(page) == LONG
    room.wait_saved()
    marks = room.marks()
    assert "".join(both.all_inner_texts()) == marks[1]["quote"]
    # Far below, paragraphs are drawn when somebody comes there.
    room.press("End", "Shift+ArrowLeft")
    room.mark("par")
    room.press("Home")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.locator("#text > p").last.locator(".mark-major").count() == 0
    page.focus("#text")
    room.press("End")
    expect(page.locator("#text > p").last.locator(".mark-major").first).to_be_visible()
    assert _shown(page) == LONG
    room.no_complaints()


@pytest.mark.parametrize("painting", ["highlights", "pieces"])
def test_every_script_keeps_its_offsets(browsing: BrowserContext, stack: Stack, painting: str) -> None:
    page = browsing.new_page()
    if painting == "pieces":
        page.add_init_script(NO_HIGHLIGHTS)
    room = Room(page, stack, take_of(stack, SCRIPTS, title=PAYLOAD, premise=PAYLOAD)).open()
    page.focus("#text")
    expected = []
    for block in range(5):
        for by, steps in (("ArrowRight", 1), ("ArrowRight", 3), ("ArrowDown", 2)):
            room.press("Home", *["Control+ArrowDown"] * block, *["ArrowRight"] * steps, *[f"Shift+{by}"] * steps)
            expected.append(page.evaluate("getSelection().toString()"))
            room.mark("par")
    expect(page.locator("#marks > li")).to_have_count(len(expected))
    room.wait_saved(30)
    marks = room.marks()
    assert all(mark["quote"] == SCRIPTS[mark["start"] : mark["end"]] for mark in marks)
    assert len(marks) == len(expected) == 15
    assert [mark["quote"] for mark in marks] == room.listed()
    blocks = {SCRIPTS[: mark["start"]].count("\n\n") for mark in marks}
    assert len(blocks) == 5, blocks
    assert _shown(page) == SCRIPTS
    assert page.title() == f"{PAYLOAD} · Longhand".replace("\n", " ")
    room.no_complaints()


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
        x, y = _middle(page, "burned")
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
        page.touchscreen.tap(*_middle(page, "burned"))
    else:
        page.mouse.click(*_middle(page, "burned"))
    active = page.locator("#marks [aria-current]")
    expect(active).to_be_in_viewport()
    expect(active).to_contain_text("The lamp had burned all night")
    if look == "phone":
        page.touchscreen.tap(*_middle(page, "burned"))
    else:
        page.mouse.click(*_middle(page, "burned"))
    expect(active).to_contain_text("Which <b>house</b>?")
    active.get_by_role("button", name="Copy").click()
    expect(active.get_by_role("button", name="Copied")).to_be_visible()
    active.get_by_text("What the principle asks").click()
    check(page, "notes-open" if look == "phone" else "notes", look)
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


def test_whatever_is_written_stays_text(browsing: BrowserContext, stack: Stack) -> None:
    stack.run(
        "from writer.editorial.models import PrincipleVersion\n"
        "from writer.editorial.constitution import record_of\n"
        "from writer.editorial.operations.save_principle import save_principle\n"
        "old = PrincipleVersion.objects.get(principle__key='title-opens')\n"
        f"new = {{'name': {PAYLOAD[:110]!r}, 'explanation': {PAYLOAD!r}}}\n"
        "record = record_of(old).model_copy(update=new)\n"
        "save_principle(by=None, record=record, base=old.number, meaning_changed=False)"
    )
    room = Room(browsing.new_page(), stack, take_of(stack, SCRIPTS)).open()
    page = room.page
    page.focus("#text")
    room.press("ArrowDown", "m")
    page.keyboard.type("owned")
    expect(page.locator("#palette-name")).to_have_text(PAYLOAD[:110])
    room.press("Enter", "Tab")
    page.keyboard.insert_text(PAYLOAD)
    room.press("Tab")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(PAYLOAD)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#marks .note")).to_have_text(PAYLOAD)
    expect(page.locator("#marks .better")).to_have_text(PAYLOAD)
    expect(page.locator("#undo-label")).to_contain_text("<script>")
    room.wait_saved()
    assert [(mark["note"], mark["better"], mark["principle"]) for mark in room.marks()] == [
        (PAYLOAD, PAYLOAD, PAYLOAD[:110])
    ]
    page.reload()
    expect(page.locator("#marks .note")).to_have_text(PAYLOAD)
    assert page.title() == "What the tide left · Longhand"
    assert page.locator("main img, main script").count() == 0
    room.no_complaints()
