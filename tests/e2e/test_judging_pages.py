"""The pages of judging as a person sees them, the rubric, and what a writer shares."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.e2e.editorial import SHORT, PairDesk, disagree, lay_out, prose, text, window
from tests.e2e.stack import Stack
from tests.e2e.test_pages import LOOKS, check


def offered(stack: Stack, title: str = "The second lamp") -> str:
    story_id = str(
        stack.api("POST", "/stories", {"title": title, "premise": "A keeper alone.", "target_words": 600, "text": SHORT[0], "start": False})["id"]
    )  # fmt: skip
    stack.api("PUT", f"/stories/{story_id}/sharing", {"consent": "reading", "given": True})
    return story_id


def test_a_rubric_sheet(editor: PairDesk, stack: Stack) -> None:
    page = editor.page
    take = stack.api("POST", f"/offered/{offered(stack)}", role="editor")["id"]
    page.goto(f"{stack.url}/desk/texts/{take}/rubric")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#said")).to_contain_text("P1 has no score yet")
    for key in [f"P{n}" for n in range(1, 7)] + [f"N{n}" for n in range(1, 11)]:
        page.evaluate("key => document.querySelector(`#${key} [type=radio]`).focus()", key)
        editor.press("3" if key.startswith("P") else "1")
    expect(page.locator("#P1-score")).to_have_value("11")
    expect(page.locator("#missing")).to_have_text("Still to score: BONUS, PENALTY")
    page.locator("#P1-score").fill("15")
    expect(page.locator("#P1 [type=radio]:checked")).to_have_attribute("data-high", "15")
    page.locator("#P1-note").fill("More than was asked.")
    page.reload()  # nothing of it is stored yet
    expect(page.locator("#P1-note")).to_have_value("More than was asked.")
    page.locator("#BONUS-score").fill("99")
    expect(page.locator("#missing")).to_have_text("Still to score: BONUS, PENALTY")
    page.locator("#BONUS-score").fill("0")
    page.locator("#PENALTY-score").fill("0")
    total = int(page.locator("#total").inner_text())
    editor.press("Control+Enter")
    expect(page.locator("#said")).to_contain_text(f"Saved: {total}")
    expect(page.locator("#save-state")).to_have_text("Saved")
    sheets = json.loads(
        stack.run(f"""
import json
from writer.editorial.models import RubricSheet
from training.common.rubric import Scores
print(json.dumps([[s.overall, Scores.model_validate(s.sheet).label, s.sheet["notes"], s.removed is None] for s in RubricSheet.objects.filter(take={take})]))
""")
    )
    assert sheets == [[total, page.locator("#label").inner_text(), {"P1": "More than was asked."}, True]]
    page.reload()
    expect(page.locator("#P1-score")).to_have_value("15")
    expect(page.locator("#total")).to_have_text(str(total))
    editor.press("Escape", "u")
    expect(page.locator("#said")).to_contain_text("Undone")
    expect(page.locator("#save-state")).to_have_text("Saved")
    count = stack.run(
        f"from writer.editorial.models import RubricSheet as R; print(R.objects.filter(take={take}, removed=None).count())"
    )
    assert count.strip() == "0"
    editor.no_complaints()


def test_sharing_is_given_and_taken_back(signed_in_context: BrowserContext, stack: Stack) -> None:
    story_id = str(stack.new_story(600, start=False, title="Kept"))
    page = signed_in_context.new_page()
    page.goto(f"{stack.url}/stories/{story_id}")
    page.get_by_text("More", exact=True).click()
    page.get_by_role("link", name="Sharing and notes").click()
    section = page.locator("section", has=page.get_by_role("heading", name="Offered to the editors"))
    expect(section.get_by_text("Off", exact=True)).to_be_visible()
    section.get_by_role("button", name="Allow").click()
    expect(section.get_by_text("Allowed since")).to_be_visible()
    assert stack.api("GET", f"/stories/{story_id}/sharing") == {"reading": True, "training": False, "outside": False}
    section.get_by_role("button", name="Withdraw").click()
    expect(section.get_by_text("Withdrawn on")).to_be_visible()
    section.get_by_text("History").click()
    expect(section.get_by_role("listitem")).to_have_count(2)
    assert not stack.api("GET", f"/stories/{story_id}/sharing")["reading"]


@pytest.fixture(params=LOOKS)
def look(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def visit(
    chrome: Browser, stack: Stack, look: str, sessions: Callable[[str], Path]
) -> Iterator[Callable[..., PairDesk]]:
    contexts = []

    def go(path: str, role: str = "editor") -> PairDesk:
        context = chrome.new_context(**LOOKS[look], storage_state=sessions(role))
        contexts.append(context)
        desk = window(context, stack)
        desk.page.goto(stack.url + path)
        return desk

    yield go
    for context in contexts:
        context.close()


LEFT = """## The harbour

The lamp had burned all night, and nobody in the house would say who had lit it. Old Marten came down the stairs in his stockings, \
looked at it for some time, and went out *without a word* to see to the boats.

“You might have asked,” said his daughter, when he came back. “You might at least have asked.”

“Asked whom?” He hung the wet coat on its nail. “There was nobody to ask. There has been nobody since Michaelmas, and well you know it.”

* * *

In the morning the tide had taken the small boat, and with it the *oars*, the lantern and the dog’s blanket. What it had left in exchange was a \
crate of oranges, 🌊 every one of them sound, and each wrapped in a page of somebody’s letters."""
RIGHT = """The lamp was lit when he woke, and he had not lit it.

He lay and listened to the house. Nobody was on the stairs. Nobody had been on the stairs: the third step speaks, and it had said \
nothing all night.

“Did you go up?” he asked his daughter at breakfast.

“Up where?” She went on cutting the bread, and did not look to see how much of it she had cut."""


PREMISE = (
    "The keeper of a harbour light finds it lit on a night when he was too ill to climb the stairs. Nobody in the house admits to it. "
    "Let the reader know before he does, and never say it."
)


def test_the_pair_page(visit: Callable[..., PairDesk], stack: Stack, look: str) -> None:
    right = [RIGHT, *LEFT.split("\n\n")[4:], *prose("other", 12)]
    lay_out(
        stack, [(LEFT + "\n\n" + text(prose("left", 12)), text(right))], title="What the tide left", premise=PREMISE, target=9000, begun=True
    )  # fmt: skip
    editor = visit("/desk/").begin()
    check(editor.page, "pair", look)
    editor.press("b", "2")
    check(editor.page, "pair-chosen", look)
    editor.press("p")
    check(editor.page, "pair-why", look)
    editor.press("Escape", "a", "x")
    check(editor.page, "pair-pass", look)
    editor.press("Escape", "?")
    check(editor.page, "pair-keys", look)
    editor.press("Escape")
    editor.page.context.set_offline(True)
    editor.press("Enter")
    expect(editor.page.locator("#save-state")).to_have_attribute("data-state", "offline")
    check(editor.page, "pair-offline", look)
    reading = editor.reading
    editor.page.context.set_offline(False)
    editor.page.wait_for_url("**/desk/")
    editor.page.goto(f"{stack.url}/desk/pairs/{reading}")
    expect(editor.page.locator("#judged")).to_be_visible()
    check(editor.page, "pair-voted", look)
    editor.page.get_by_role("button", name="Who wrote them?").click()
    check(editor.page, "pair-result", look)


def test_the_settling_page(visit: Callable[..., PairDesk], stack: Stack, look: str) -> None:
    [pair] = lay_out(stack, [(LEFT, text(prose("other", 12)))], title="What the tide left", premise=PREMISE, overlap=2)
    disagree(stack, pair)
    editor = visit("/desk/")
    check(editor.page, "desk-settle", look)
    editor.page.get_by_role("button", name="Settle a disagreement").click()
    editor.there()
    editor.press("b", "a")
    check(editor.page, "pair-settle", look)


def test_the_rubric_page(visit: Callable[..., PairDesk], stack: Stack, look: str) -> None:
    take = stack.api("POST", f"/offered/{offered(stack)}", role="editor")["id"]
    editor = visit(f"/desk/texts/{take}/rubric")
    check(editor.page, "rubric", look)
    editor.page.get_by_role("button", name="Next one").click()
    editor.press("3")
    check(editor.page, "rubric-scored", look)


def test_the_desk(visit: Callable[..., PairDesk], stack: Stack, look: str) -> None:
    lay_out(stack, [SHORT, SHORT])
    offered(stack, "The keeper of the second light")
    check(visit("/desk/").page, "desk", look)


def test_the_sharing_page(visit: Callable[..., PairDesk], stack: Stack, look: str) -> None:
    story_id = offered(stack, "The keeper of the second light")
    for given in (True, False):
        stack.api("PUT", f"/stories/{story_id}/sharing", {"consent": "training", "given": given})
    page = visit(f"/stories/{story_id}/sharing", "writer").page
    page.get_by_text("History").last.click()
    check(page, "sharing", look)
