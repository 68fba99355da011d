"""A story grows on the page, and the page is the server's text whatever happens to the window."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.e2e.browser import Desk, window
from tests.e2e.stack import Stack
from tests.upstream.script import story as numbered


def test_ask_for_a_story_and_see_it_grow(desk: Desk, stack: Stack) -> None:
    page = desk.page
    page.goto(f"{stack.url}/")
    page.get_by_role("link", name="New story").click()
    page.get_by_label("Title").fill("The lighthouse 🌊")
    page.get_by_label("Premise").fill("A keeper counts waves. 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 <b>too</b>.")
    page.get_by_label("Words").fill("600")
    page.get_by_role("button", name="Begin writing").click()
    desk.wait_words(20)
    first = desk.text()
    desk.wait_words(150)
    assert desk.text().startswith(first)

    page.reload()
    desk.wait_words(150)
    second = desk.text()
    assert numbered(5000).startswith(second)
    story_id = desk.story_id
    page.close()

    stack.wait_state(story_id, "done")
    back = window(page.context, stack).open(story_id)
    back.wait_state("done")
    story = back.same_as_server()
    assert back.text() == numbered(story["words"])
    expect(back.page.locator("#ending")).to_contain_text(f"Asked for 600 words, got {story['words']}.")
    back.no_complaints()


def test_the_page_that_stays_open_has_it_all_too(desk: Desk, stack: Stack) -> None:
    desk.open(stack.new_story(300))
    desk.wait_state("done")
    desk.page.wait_for_selector("body[data-verified]")
    assert desk.same_as_server()["words"] >= 270
    desk.no_complaints()


def test_the_web_server_is_killed(desk: Desk, stack: Stack) -> None:
    desk.open(stack.new_story(900))
    desk.wait_words(100)
    stack.web.kill()
    before = desk.text()
    desk.page.wait_for_timeout(1500)
    stack.web.start()
    stack.wait_ready()
    desk.wait_words(400)
    assert desk.text().startswith(before)
    stack.wait_state(desk.story_id, "done")
    desk.wait_state("done")
    desk.same_as_server()


def test_pause_continue_and_stop(desk: Desk, stack: Stack) -> None:
    desk.open(stack.new_story(2000))
    desk.wait_words(60)
    desk.page.get_by_role("button", name="Pause").click()
    desk.wait_state("paused")
    expect(desk.page.locator("#pace")).to_have_text("Paused")
    paused = desk.same_as_server()["full_text"]
    desk.page.get_by_role("button", name="Continue").click()
    desk.wait_words(200)
    assert desk.text().startswith(paused)
    desk.page.get_by_role("button", name="Stop").click()
    desk.wait_state("stopped")
    desk.page.wait_for_selector("body[data-verified]")
    desk.same_as_server()


def test_a_second_window_and_a_second_device_read_the_same(desk: Desk, second_desk: Desk, stack: Stack) -> None:
    story_id = stack.new_story(300)
    desk.open(story_id)
    desk.wait_words(100)
    second_desk.open(story_id)
    for one in (desk, second_desk):
        one.wait_state("done")
        one.page.wait_for_selector("body[data-verified]")
        one.same_as_server()
