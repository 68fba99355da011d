"""A story from end to end with a real vLLM: requested on the page, written by the demo model, read to its end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.browser import sign_in, window
from tests.e2e.stack import Stack, running
from tests.servers import ServedModel

pytestmark = pytest.mark.model


@pytest.fixture
def real_stack(model_server: ServedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("real")
    with running(folder, model_server.url, key=model_server.key, served=model_server.name) as started:
        yield started


def test_a_story_of_600_words(chrome: Browser, real_stack: Stack) -> None:
    context = chrome.new_context()
    desk = window(context, real_stack)
    page = desk.page
    sign_in(page, real_stack, real_stack.accounts["writer"])
    page.get_by_role("link", name="New story").click()
    page.get_by_label("Title").fill("The lamp 🕯")
    page.get_by_label("Premise").fill("Two sisters keep a light that nobody asked for. 𝔄 and 𝔅.")
    page.get_by_label("Words").fill("600")
    page.get_by_role("button", name="Begin writing").click()
    desk.wait_words(30, 90)
    first = desk.text()
    desk.wait_words(120, 60)
    assert desk.text().startswith(first)
    page.reload()
    desk.wait_words(120)
    assert desk.text().startswith(first)
    story_id = desk.story_id
    expect(desk.paragraph(2)).to_be_visible(timeout=60_000)
    desk.write_at_end_of(1, " 🕯 So it was.")
    desk.wait_saved()
    page.close()

    story = real_stack.wait_state(story_id, "done", 180)
    assert story["generation"]["state"] == "done"
    back = window(context, real_stack).open(story_id)
    back.wait_state("done")
    back.page.wait_for_selector("body[data-verified]")
    story = back.same_as_server()
    assert story["full_text"].split("\n\n")[0].endswith(" 🕯 So it was.")
    assert abs(story["words"] - 600) <= 90
    expect(back.page.locator("#ending")).to_contain_text("Asked for 600 words, got")
    expect(back.page.get_by_text("Written by the demo model, temperature 0.8, min-p 0.05.")).to_be_visible()
    back.no_complaints()
    context.close()
