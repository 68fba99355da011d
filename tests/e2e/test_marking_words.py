"""Marks are on the selected words: by mouse and keys, over each other, in every script, with and without highlights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.e2e.room import LONG, NO_HIGHLIGHTS, PAYLOAD, SCRIPTS, Room, middle, shown, take_of
from tests.e2e.stack import Stack


@pytest.fixture
def browsing(chrome: Browser, sessions: Callable[[str], Path]) -> Iterator[BrowserContext]:
    made = chrome.new_context(storage_state=sessions("editor"), viewport={"width": 1200, "height": 850})
    yield made
    made.close()


@pytest.fixture
def room(browsing: BrowserContext, stack: Stack) -> Room:
    return Room(browsing.new_page(), stack, take_of(stack, LONG)).open()


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

    def where(layer: str) -> str:
        return f"[...CSS.highlights.get('mark-{layer}') ?? []].map(range => range.startContainer.data).join()"

    page.wait_for_function(f"() => {where('major')}.startsWith('The lamp')")
    assert room.painted() == 1, "the other one is far away"
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
    page.mouse.click(*middle(page, "lamp"))
    active = page.locator("#marks [aria-current] .principle")
    expect(active).to_have_text("Said is enough")
    page.mouse.click(*middle(page, "lamp"))
    expect(active).to_have_text("End without a moral")
    page.mouse.click(*middle(page, "lamp"))
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


def test_by_mouse(room: Room) -> None:
    page = room.page
    (x, y), (x2, y2) = middle(page, "burned"), middle(page, "nobody")
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
    page.mouse.click(*middle(page, "lamp"))
    expect(page.locator("#text .mark-active").first).to_be_visible()
    assert shown(page) == LONG
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
    assert shown(page) == LONG
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
    assert shown(page) == SCRIPTS
    assert page.title() == f"{PAYLOAD} · Longhand".replace("\n", " ")
    room.no_complaints()


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
