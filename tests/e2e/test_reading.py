"""The scroll position of a reader, and the cost of 12,000 words."""

from __future__ import annotations

import json
import time

from playwright.sync_api import expect

from tests.e2e.browser import Desk
from tests.e2e.stack import Stack
from tests.upstream.process import Upstream
from tests.upstream.script import story as numbered

TOP_OF = "number => document.querySelectorAll('.prose > p')[number - 1].getBoundingClientRect().top"


def test_the_view_follows_the_end_only_from_the_end(desk: Desk, stack: Stack, upstream: Upstream) -> None:
    upstream.script(rate=120)
    story_id = stack.new_story(3000)
    stack.wait_words(story_id, 500)
    desk.open(story_id)
    page = desk.page
    jump = page.locator("#jump")
    expect(jump).to_be_visible()
    before = page.evaluate(TOP_OF, 3)
    desk.wait_words(800)
    assert page.evaluate(TOP_OF, 3) == before
    jump.click()
    expect(jump).to_be_hidden()
    desk.wait_words(1100)
    assert page.evaluate("scrollY + innerHeight >= document.documentElement.scrollHeight - 60")
    page.mouse.move(500, 300)
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(300)
    there = page.evaluate("scrollY")
    words = int(page.locator("#words").inner_text().split(" ")[0].replace(",", ""))
    desk.wait_words(words + 200)
    assert page.evaluate("scrollY") == there
    expect(jump).to_be_visible()


def test_planning_is_folded_and_not_counted(desk: Desk, stack: Stack, upstream: Upstream) -> None:
    upstream.script(rate=60, think=40)
    desk.open(stack.new_story(250))
    page = desk.page
    expect(page.get_by_text("Planning", exact=True)).to_be_visible(timeout=20_000)
    expect(page.locator("#thinking")).to_be_hidden()
    stack.wait_state(desk.story_id, "done")
    desk.wait_state("done")
    upstream.script(rate=60, think=0)
    page.get_by_text("Planning", exact=True).click()
    expect(page.locator("#thinking")).to_contain_text("t1 t2 t3")
    story = desk.same_as_server()
    assert desk.text() == numbered(story["words"])


def test_twelve_thousand_words_stay_fluid(desk: Desk, stack: Stack) -> None:
    """Costs are compared with those of a short story in the same browser, so that a slow machine is no failure."""
    page = desk.page
    figures = {}
    for words in (300, 12_000):
        story_id = stack.api("POST", "/stories", {
            "title": "Long", "premise": "Long.", "target_words": 20_000, "text": numbered(words), "start": False,
        })["id"]  # fmt: skip
        began = time.monotonic()
        desk.open(story_id)
        opened = time.monotonic() - began
        assert desk.text() == numbered(words)
        desk.put_caret(2, at_end=True)
        typing = page.evaluate(
            """() => new Promise(resolve => {
                const times = [];
                const type = () => {
                    const start = performance.now();
                    document.execCommand('insertText', false, 'a');
                    document.body.getBoundingClientRect();
                    times.push(performance.now() - start);
                    if (times.length < 60) requestAnimationFrame(type);
                    else resolve(times.sort((a, b) => a - b));
                };
                type();
            })"""
        )
        figures[words] = {
            "opened_s": round(opened, 2),
            "key_p50_ms": round(typing[30], 2),
            "key_p95_ms": round(typing[56], 2),
        }
        desk.wait_saved()
        desk.same_as_server()
    print(json.dumps(figures))
    assert figures[12_000]["opened_s"] < 3
    assert figures[12_000]["key_p50_ms"] < max(16, 4 * figures[300]["key_p50_ms"])
    desk.no_complaints()


def test_an_append_costs_the_same_at_the_end_of_a_long_story(desk: Desk, stack: Stack, upstream: Upstream) -> None:
    upstream.script(rate=100)
    page = desk.page
    long = {}
    for words in (300, 12_000):
        given = {
            "title": "Long",
            "premise": "Long.",
            "target_words": words + 3000,
            "text": numbered(words),
            "start": True,
        }
        desk.open(stack.api("POST", "/stories", given)["id"])
        desk.wait_words(words + 100)
        long[words] = page.evaluate(
            """() => new Promise(resolve => {
                let tasks = 0, worst = 0;
                const observer = new PerformanceObserver(list => list.getEntries().forEach(entry => {
                    tasks++;
                    worst = Math.max(worst, entry.duration);
                }));
                observer.observe({entryTypes: ['longtask']});
                setTimeout(() => resolve({tasks, worst}), 3000);
            })"""
        )
        page.get_by_role("button", name="Stop").click()
        desk.wait_state("stopped")
        page.wait_for_selector("body[data-verified]")
        desk.same_as_server()
    print(json.dumps(long))
    assert long[12_000]["tasks"] <= long[300]["tasks"] + 6, long
