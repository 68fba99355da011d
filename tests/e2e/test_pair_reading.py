"""Two long texts side by side: their positions are kept, they scroll together, and what was on the screen is recorded."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.e2e.editorial import WIDE, PairDesk, lay_out, prose, stored, text, window
from tests.e2e.stack import Stack
from tests.e2e.test_pages import LOOKS


def test_a_reload_keeps_place_and_what_was_read_and_typed(editor: PairDesk, stack: Stack) -> None:
    pairs = lay_out(stack, [(text(prose("left", 40)), text(prose("right", 50)))], begun=True)
    editor.begin()
    editor.press("l")
    editor.scroll("left", 900)
    editor.scroll("right", 1700)
    editor.press("4", "a", "r")
    editor.page.keyboard.type("It is nearly")
    editor.page.wait_for_timeout(1_000)
    read = editor.page.locator("#left-read").inner_text()
    tops = [editor.height_of("left", "left12w0"), editor.height_of("right", "right22w0")]
    editor.page.reload()
    editor.there()
    expect(editor.page.locator("#reason")).to_have_value("It is nearly")
    expect(editor.page.locator("[name=preference]:checked")).to_have_value("1")
    expect(editor.page.locator("#lock")).to_have_attribute("aria-pressed", "false")
    expect(editor.page.locator("#left-read")).to_have_text(read)
    editor.press("a")  # the same height as before
    editor.page.wait_for_timeout(200)
    for side, words, top in (("left", "left12w0", tops[0]), ("right", "right22w0", tops[1])):
        assert abs(editor.height_of(side, words) - top) < 3, (side, top, editor.height_of(side, words))
    editor.press("Escape", "Enter")
    editor.page.wait_for_url("**/desk/")
    assert stored(stack, pairs)["votes"][0]["reason"] == "It is nearly"


def test_a_reload_keeps_two_texts_that_move_together(editor: PairDesk, stack: Stack) -> None:
    shared = prose("both", 40)
    lay_out(stack, [(text(shared), text([*prose("more", 30), *shared]))], begun=True)
    editor.begin()
    editor.press("b")
    editor.bring("left", "both22w0")
    height = editor.height_of("left", "both22w0")
    assert abs(editor.height_of("right", "both22w0") - height) < 4
    editor.page.set_viewport_size({"width": 1000, "height": 700})
    editor.page.set_viewport_size(WIDE)
    editor.page.wait_for_timeout(200)
    assert abs(editor.height_of("left", "both22w0") - height) < 4
    assert abs(editor.height_of("right", "both22w0") - height) < 4
    editor.page.reload()
    editor.there()
    if editor.page.locator("#brief[open]").count():
        editor.press("b")
    editor.page.wait_for_timeout(200)
    assert abs(editor.height_of("left", "both22w0") - height) < 4
    assert abs(editor.height_of("right", "both22w0") - height) < 4


def test_what_was_read(editor: PairDesk, stack: Stack) -> None:
    """A short paragraph is seen within seconds; what never came into view is not; and voting early is only said, not refused."""
    pairs = lay_out(
        stack, [(text(["A line.", *prose("left", 60)]), text(["Two lines, here.", *prose("right", 60)]))], begun=True
    )
    editor.begin()
    expect(editor.page.locator("#left-read")).to_have_text("0 % read")
    editor.press("5")
    expect(editor.page.locator("#warning")).to_have_text("You have read 0 % of the left and 0 % of the right.")
    editor.page.clock.install()
    editor.page.wait_for_timeout(100)
    editor.page.reload()
    editor.there()
    for _ in range(40):
        editor.page.mouse.move(300, 400 + _ % 2)
        editor.page.clock.run_for(1_000)
    left = editor.page.locator("#left-read")
    assert 3 <= int(left.inner_text().split(" ")[0]) < 20
    with editor.page.expect_response(re.compile("/api/readings/")):
        editor.page.clock.run_for(5_000)
    before = stored(stack, pairs)["readings"][0]
    assert before["seen"][0][0][0] == 0
    assert before["seen"][0][0][1] < 12
    assert 35 <= before["seconds"] <= 50
    editor.page.clock.run_for(600_000)  # nobody there: two minutes count, no more
    with editor.page.expect_response(re.compile("/api/readings/")):
        editor.scroll("left", 10)
        editor.page.clock.run_for(5_000)
    assert stored(stack, pairs)["readings"][0]["seconds"] < before["seconds"] + 140
    editor.press("Enter")
    editor.page.clock.run_for(3_000)
    editor.page.wait_for_url("**/desk/")
    vote = stored(stack, pairs)["votes"][0]
    assert 0.02 < vote["read"][0] < 0.3
    assert vote["seconds"] > 30


def test_the_lock(editor: PairDesk, stack: Stack) -> None:
    shared = prose("both", 40)
    left, right = shared, [*shared[:10], *prose("more", 25), *shared[10:]]
    lay_out(stack, [(text(left), text(right))], begun=True)
    editor.begin()
    for words in ("both5w0", "both20w0", "both34w0"):
        editor.bring("left", words)
        assert abs(editor.height_of("left", words) - editor.height_of("right", words)) < 4, words
    for words in ("both25w0", "both3w0"):
        editor.bring("right", words)
        assert abs(editor.height_of("left", words) - editor.height_of("right", words)) < 4, words
    editor.press("l")
    stays = editor.top("right")
    editor.bring("left", "both30w0")
    assert editor.top("right") == stays
    editor.press("l")  # what both have decides: the other comes along
    assert abs(editor.height_of("left", "both30w0") - editor.height_of("right", "both30w0")) < 4
    # Both begin, and both end, together.
    editor.scroll("left", 0)
    assert editor.top("right") == 0
    editor.scroll("left", 1_000_000)
    assert editor.page.evaluate("right.scrollHeight - right.clientHeight - right.scrollTop") < 2


def test_the_lock_holds_what_the_reader_put_side_by_side(editor: PairDesk, stack: Stack) -> None:
    lay_out(stack, [(text(prose("left", 40)), text(prose("right", 60)))], begun=True)
    editor.begin()
    editor.bring("left", "left20w0")
    editor.press("l")
    editor.bring("right", "right12w0")
    editor.press("l")
    assert abs(editor.height_of("right", "right12w0") - editor.height_of("left", "left20w0")) < 4
    editor.bring("left", "left25w0")
    editor.bring("left", "left20w0")
    assert abs(editor.height_of("right", "right12w0") - editor.height_of("left", "left20w0")) < 4


def test_one_text_at_a_time_on_a_phone(chrome: Browser, stack: Stack, sessions: Callable[[str], Path]) -> None:
    shared = prose("both", 40)
    lay_out(stack, [(text(shared), text([*prose("more", 20), *shared]))], begun=True)
    context = chrome.new_context(**LOOKS["phone"], storage_state=sessions("editor"))
    editor = window(context, stack).begin()
    expect(editor.left).to_be_visible()
    expect(editor.right).to_be_hidden()
    editor.bring("left", "both17w0")
    height = editor.height_of("left", "both17w0")
    editor.page.get_by_role("button", name="Show the right").click()
    expect(editor.left).to_be_hidden()
    assert abs(editor.height_of("right", "both17w0") - height) < 4
    editor.press("s")
    expect(editor.left).to_be_visible()
    assert abs(editor.height_of("left", "both17w0") - height) < 4
    context.close()


def test_two_long_takes_scroll_smoothly(editor: PairDesk, stack: Stack) -> None:
    shared = prose("both", 50, 75)
    left = [*shared, *prose("left", 110, 75)]
    right = [*prose("right", 60, 75), *shared, *prose("end", 50, 75)]
    lay_out(stack, [(text(left), text(right))], begun=True)
    editor.begin()
    devtools = editor.page.context.new_cdp_session(editor.page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})

    def worked() -> float:
        """Seconds of processor time that the page's thread has worked: other tests on the same cores do not count."""
        metrics = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
        return float(metrics["TaskDuration"])

    before = worked()
    frames = editor.page.evaluate(
        """async () => {
            const left = document.getElementById("left");
            const frames = [];
            let last = performance.now();
            for (let n = 0; n < 180; n++) {
                left.scrollTop += 90;
                await new Promise(requestAnimationFrame);
                frames.push(performance.now() - last);
                last = performance.now();
            }
            return frames.sort((a, b) => a - b);
        }"""
    )
    work = (worked() - before) / len(frames) * 1_000
    print("frames of", [round(frames[int(len(frames) * share)], 1) for share in (0.5, 0.95, 0.99)], "ms")
    print("work of a frame", round(work, 1), "ms")
    assert work < 8
    moving = editor.page.evaluate(
        """async () => {
            const [left, right] = [document.getElementById("left"), document.getElementById("right")];
            let spent = 0;
            for (let n = 0; n < 100; n++) {
                left.scrollTop = n * 100;
                const start = performance.now();
                left.dispatchEvent(new Event("scroll"));
                spent += performance.now() - start;
            }
            return spent / 100;
        }"""
    )
    print("following costs", round(moving, 3), "ms")
    assert moving < 8
