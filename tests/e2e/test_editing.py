"""The writer changes finished paragraphs while the model writes, and nothing that was typed is lost or overwritten."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import BrowserContext, Route, expect

from tests.e2e.browser import Desk, sign_in, window
from tests.e2e.stack import Stack
from tests.upstream.process import Upstream
from tests.upstream.script import story as numbered

CLEF = "𝄞"
PAYLOADS = (
    '<script>document.title = "owned"</script> <img src=x onerror="document.title=1"> '
    "<style>*{display:none}</style> <a href='javascript:alert(1)'>so</a> </textarea></script> &amp; {{ 7|add:1 }}"
)


def test_change_the_first_paragraph_while_the_rest_is_written(desk: Desk, stack: Stack, upstream: Upstream) -> None:
    upstream.script(rate=40)
    desk.open(stack.new_story(400))
    desk.wait_words(70)
    desk.write_at_end_of(1, f" {CLEF} Mine 🌲.")
    desk.wait_saved()
    saved = stack.story(desk.story_id)
    first, *others = saved["text"].split("\n\n")
    assert first == f"{numbered(60)} {CLEF} Mine 🌲."
    # The finished paragraphs, and nothing of the growing one.
    assert saved["absorbed"] == len(numbered(60 + 60 * len(others)))
    desk.wait_words(200)
    assert desk.paragraph(1).inner_text().endswith(f"60. {CLEF} Mine 🌲.")
    desk.page.keyboard.insert_text(" More.")
    desk.wait_saved()
    story_id = desk.story_id
    stack.wait_state(story_id, "done")
    desk.wait_state("done")
    story = desk.same_as_server()
    first, _, rest = story["full_text"].partition("\n\n")
    assert first == numbered(60) + f" {CLEF} Mine 🌲. More."
    assert rest == numbered(10_000)[len(numbered(60)) + 2 :][: len(rest)]
    desk.page.reload()
    desk.same_as_server()
    desk.no_complaints()


def test_the_growing_paragraph_is_the_models(desk: Desk, stack: Stack, upstream: Upstream) -> None:
    upstream.script(rate=6)
    desk.open(stack.new_story(400))
    desk.wait_words(12)
    desk.put_caret(1, at_end=False)
    desk.page.keyboard.type("xyz")
    desk.page.keyboard.press("Control+a")
    desk.page.keyboard.press("Delete")
    desk.wait_words(24)
    assert numbered(400).startswith(desk.text())
    upstream.script(rate=60)


def test_undo_takes_back_what_the_writer_did_and_not_what_the_model_wrote(desk: Desk, stack: Stack) -> None:
    desk.open(stack.new_story(400))
    desk.wait_words(80)
    desk.write_at_end_of(1, " Mine.")
    desk.wait_words(160)
    desk.page.keyboard.press("Control+z")
    assert desk.paragraph(1).inner_text() == numbered(60)
    words = stack.wait_state(desk.story_id, "done")["words"]
    desk.wait_state("done")
    desk.wait_saved()
    assert desk.text() == numbered(words)


def test_keystrokes_survive_a_lost_connection(desk: Desk, stack: Stack) -> None:
    desk.open(stack.new_story(700))
    desk.wait_words(70)
    desk.page.context.set_offline(True)
    desk.write_at_end_of(1, " Offline.")
    expect(desk.page.locator("#save-state")).to_have_text("Offline: kept in this browser", timeout=10_000)
    desk.page.keyboard.insert_text(" Still.")
    desk.page.context.set_offline(False)
    desk.wait_saved()
    assert stack.story(desk.story_id)["full_text"].startswith(numbered(60) + " Offline. Still.\n\n")
    stack.wait_state(desk.story_id, "done")
    desk.wait_state("done")
    desk.page.wait_for_selector("body[data-verified]")
    desk.same_as_server()


def test_keystrokes_survive_a_dead_server_and_a_reload(desk: Desk, stack: Stack) -> None:
    story_id = stack.new_story(300)
    stack.wait_state(story_id, "done")
    desk.open(story_id)
    stack.web.kill()
    desk.write_at_end_of(1, " Typed at nobody.")
    expect(desk.page.locator("#save-state")).to_have_attribute("data-state", "offline", timeout=10_000)
    stack.web.start()
    stack.wait_ready()
    desk.page.reload()
    expect(desk.paragraph(1)).to_contain_text("Typed at nobody.")
    desk.wait_saved()
    assert " Typed at nobody." in desk.same_as_server()["text"]


def test_keystrokes_survive_an_immediate_reload(desk: Desk, stack: Stack) -> None:
    story_id = stack.new_story(300)
    stack.wait_state(story_id, "done")
    desk.open(story_id)
    desk.write_at_end_of(1, " Typed and gone.")
    desk.page.reload()
    expect(desk.paragraph(1)).to_contain_text("Typed and gone.")
    desk.wait_saved()
    assert " Typed and gone." in desk.same_as_server()["text"]


def test_a_closed_window_leaves_its_changes_to_the_next(desk: Desk, second_desk: Desk, stack: Stack) -> None:
    story_id = stack.new_story(300)
    stack.wait_state(story_id, "done")
    desk.open(story_id)
    desk.page.route("**/api/stories/**", lambda route: route.abort())
    desk.write_at_end_of(1, " Left behind.")
    expect(desk.page.locator("#save-state")).to_have_attribute("data-state", "offline", timeout=10_000)
    desk.page.close()
    second_desk.open(story_id)
    expect(second_desk.paragraph(1)).to_contain_text("Left behind.")
    second_desk.wait_saved()
    assert " Left behind." in second_desk.same_as_server()["text"]


def test_the_session_expires(desk: Desk, stack: Stack) -> None:
    story_id = stack.new_story(300)
    stack.wait_state(story_id, "done")
    desk.open(story_id)
    desk.page.context.clear_cookies()
    desk.write_at_end_of(1, " Signed out.")
    link = desk.page.get_by_role("link", name="Sign in in a new tab")
    expect(link).to_be_visible(timeout=10_000)
    expect(desk.page.locator("#save-state")).to_have_text("Signed out: kept in this browser")
    with desk.page.context.expect_page() as opened:
        link.click()
    account = stack.accounts["writer"]
    tab = opened.value
    tab.get_by_label("Email").fill(account.email)
    tab.get_by_label("Password").fill(account.password)
    tab.get_by_role("button", name="Sign in").click()
    tab.wait_for_url(re.compile(story_id))
    desk.page.bring_to_front()
    desk.wait_saved(30)
    tab.close()
    assert " Signed out." in stack.story(story_id)["text"]


@contextmanager
def _later(desk: Desk) -> Iterator[None]:
    """Whatever the window saves in here reaches the server afterwards."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    desk.page.route("**/api/stories/*/text", hold)
    yield
    desk.page.unroute("**/api/stories/*/text")
    for route in held:
        route.continue_()


def test_two_windows_change_the_same_text(desk: Desk, second_desk: Desk, stack: Stack) -> None:
    story_id = stack.new_story(300)
    stack.wait_state(story_id, "done")
    for one in (desk, second_desk):
        one.open(story_id)
    # Both write at the same time: the second one hears nothing of the first one's save, and saves after it.
    second_desk.page.route(f"**/api/stories/{story_id}", lambda route: route.abort())
    with _later(second_desk):
        desk.write_at_end_of(1, " Of the first window.")
        second_desk.write_at_end_of(2, " Of the second window.")
        desk.wait_saved()
    dialog = second_desk.page.locator("#conflict")
    expect(dialog).to_be_visible(timeout=10_000)
    second_desk.page.unroute(f"**/api/stories/{story_id}")
    assert " Of the second window." not in stack.story(story_id)["text"]
    dialog.get_by_role("button", name="Decide later").click()
    second_desk.page.get_by_role("button", name="Choose a version").click()
    expect(dialog.locator("#mine")).to_contain_text("Of the second window.")
    expect(dialog.locator("#theirs")).to_contain_text("Of the first window.")
    dialog.get_by_role("button", name="Copy mine").click()
    expect(dialog.locator("#copy-mine")).to_have_text("Copied")
    dialog.get_by_role("button", name="Take the saved one").click()
    second_desk.wait_saved()
    expect(second_desk.paragraph(1)).to_contain_text("Of the first window.")
    expect(second_desk.page.get_by_text("The version that you set aside")).to_be_visible()
    second_desk.same_as_server()
    # The first window hears of nothing new: theirs was taken. Now the other way round.
    second_desk.page.route(f"**/api/stories/{story_id}", lambda route: route.abort())
    with _later(second_desk):
        desk.write_at_end_of(1, " Again.")
        second_desk.write_at_end_of(2, " Mine wins.")
        desk.wait_saved()
    expect(dialog).to_be_visible(timeout=10_000)
    dialog.get_by_role("button", name="Keep mine as the newer version").click()
    second_desk.wait_saved()
    second_desk.page.unroute(f"**/api/stories/{story_id}")
    assert "Mine wins." in stack.story(story_id)["text"]
    # The first window has nothing unsaved, and follows.
    expect(desk.paragraph(2)).to_contain_text("Mine wins.", timeout=10_000)
    desk.same_as_server()


@pytest.mark.parametrize("choice", ["Keep mine as the newer version", "Take the saved one"])
def test_another_window_had_the_story_go_on(choice: str, desk: Desk, stack: Stack, upstream: Upstream) -> None:
    """What this window would save belongs to a log that is not the newest any more."""
    upstream.script(rate=60)
    story_id = stack.new_story(300)
    stack.wait_state(story_id, "done")
    desk.open(story_id)
    before = stack.story(story_id)["full_text"]
    with _later(desk):
        desk.write_at_end_of(1, " Typed meanwhile.")
        stack.api("POST", f"/stories/{story_id}/generations", {"target_words": 500})
    dialog = desk.page.locator("#conflict")
    expect(dialog).to_be_visible(timeout=10_000)
    stack.wait_state(story_id, "done")
    dialog.get_by_role("button", name=choice).click()
    desk.wait_saved()
    desk.wait_state("done")
    text = desk.same_as_server()["full_text"]
    mine = before.replace("\n\n", " Typed meanwhile.\n\n", 1)
    if choice.startswith("Keep"):
        assert text.startswith(mine)
        assert len(text.split()) > 450, "what was written meanwhile follows"
    else:
        assert text.startswith(before)
        expect(desk.page.get_by_text("The version that you set aside")).to_be_visible()


def test_html_in_a_text_is_text(desk: Desk, stack: Stack) -> None:
    text = f"{PAYLOADS}\n\n## {PAYLOADS}\n\n*{PAYLOADS}*"
    story_id = stack.api("POST", "/stories", {
        "title": PAYLOADS[:150], "premise": PAYLOADS, "target_words": 300, "text": text, "start": False,
    })["id"]  # fmt: skip
    title = f"{PAYLOADS[:150]} · Longhand"
    desk.open(story_id)
    assert desk.page.title() == " ".join(title.split())
    assert desk.text() == text
    desk.put_caret(1, at_end=True)
    desk.page.evaluate(
        """html => {
            const data = new DataTransfer();
            data.setData('text/html', html);
            document.querySelector('.prose').dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true}));
        }""",
        f'<h2 style="color:red" onclick="alert(1)">A heading</h2><p style="position:fixed">One <i>word</i>.</p>{PAYLOADS}',
    )
    desk.wait_saved()
    assert "One *word*." in desk.same_as_server()["text"]
    assert "## A heading" in desk.text()
    assert desk.page.title() == " ".join(title.split())
    desk.no_complaints()


def test_with_the_keyboard_alone(signed_in_context: BrowserContext, stack: Stack, upstream: Upstream) -> None:
    upstream.script(rate=20)  # so slowly that the story is still being written when the keys have come to "Pause"
    desk = window(signed_in_context, stack)
    page = desk.page
    page.goto(f"{stack.url}/")

    def tab_to(name: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            label = page.evaluate(
                "(e => e.labels?.[0]?.textContent || e.getAttribute('aria-label') || e.textContent)(document.activeElement)"
            )
            if name in label and page.evaluate("document.activeElement !== document.body"):
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none" or name == "The story", f"{name} has the focus, and it is not seen"
                return
        raise AssertionError(f"no way to {name!r} with the keyboard")

    tab_to("New story")
    page.keyboard.press("Enter")
    page.wait_for_url("**/new")
    page.keyboard.type("By keyboard")  # the title has the focus
    tab_to("Premise")
    page.keyboard.type("No mouse.")
    tab_to("Words")
    page.keyboard.press("Control+a")
    page.keyboard.type("300")
    tab_to("Begin writing")
    page.keyboard.press("Enter")
    desk.wait_words(70)
    tab_to("Pause")
    page.keyboard.press("Enter")
    desk.wait_state("paused")
    tab_to("More")
    page.keyboard.press("Enter")
    tab_to("Download as Markdown")
    page.keyboard.press("Control+Home")
    page.focus("body")
    tab_to("The story")
    page.wait_for_timeout(100)
    page.keyboard.press("Control+Home")
    page.keyboard.type("First: ")
    page.keyboard.press("Control+s")
    desk.wait_saved()
    assert desk.same_as_server()["text"].startswith("First: " + numbered(20))


def test_another_person_signs_in(desk: Desk, stack: Stack) -> None:
    """What one person typed is not sent by another who uses the same browser."""
    story_id = stack.new_story(300)
    stack.wait_state(story_id, "done")
    desk.open(story_id)
    desk.page.route("**/api/stories/**", lambda route: route.abort())
    desk.write_at_end_of(1, " Private.")
    expect(desk.page.locator("#save-state")).to_have_attribute("data-state", "offline", timeout=10_000)
    desk.page.context.clear_cookies()  # while nothing gets through: a window that closes may send a last time
    desk.page.close()
    other = desk.page.context.new_page()
    sign_in(other, stack, stack.accounts["editor"])
    assert other.goto(f"{stack.url}/stories/{story_id}").status == 404  # type: ignore[union-attr]
    assert " Private." not in stack.story(story_id)["full_text"]
    other.context.clear_cookies()
    sign_in(other, stack, stack.accounts["writer"])
    with other.expect_response(lambda answer: answer.request.method == "PUT" and answer.ok):
        other.goto(f"{stack.url}/stories/{story_id}")
    assert " Private." in stack.story(story_id)["full_text"], "what its own writer typed is sent when she is back"
