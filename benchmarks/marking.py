"""The latency of the marking page for a long text with many marks.

    python -m benchmarks.marking [--miniature]

A text of 12,000 words with 400 overlapping marks, in Chromium, on the pages that `make run` serves. Keys are pressed through the browser's input
(Playwright), not by scripts. The cost of a key is the CPU time of the page's main thread in all tasks (`TaskDuration`, including painting, garbage
collection and the measurement); the wall-clock time, which other processes affect, is in the note. The time of a paint is measured in two ways, of
which the slower counts: a message posted from the animation frame after the key, and the duration of the Event Timing API, which lasts until the
frame is presented and is rounded to 8 ms.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from playwright.sync_api import Browser, Page

from benchmarks.report import ROOT, Measure, p95, write
from benchmarks.site import databases
from tests.e2e.browser import chromium, sign_in
from tests.e2e.stack import Stack, running

CORPUS = ROOT.parent / "shared" / "corpus" / "stories.jsonl.gz"
WORDS, MARKS = 12_000, 400

WATCH = """
window.seen = {paints: [], events: [], frames: []};
const pressed = event => {
    const began = event.timeStamp;
    requestAnimationFrame(() => {
        const channel = new MessageChannel();
        channel.port1.onmessage = () => seen.paints.push(performance.now() - began);
        channel.port2.postMessage(null);
    });
};
const observer = new PerformanceObserver(list => {
    for (const entry of list.getEntries()) if (entry.name === "keydown") seen.events.push(entry.duration);
});
seen.watch = () => {
    [seen.paints, seen.events] = [[], []];
    addEventListener("keydown", pressed, true);
    observer.observe({type: "event", durationThreshold: 16});
};
seen.rest = () => {
    removeEventListener("keydown", pressed, true);
    observer.disconnect();
};
"""
FRAMES = """
seen.frames = [];
let last = null;
seen.watching = true;
requestAnimationFrame(function frame(now) {
    if (last !== null) seen.frames.push(now - last);
    last = now;
    if (seen.watching) requestAnimationFrame(frame);
});
"""
SETTLED = """() => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => resolve();
    channel.port2.postMessage(null);
})))"""


def corpus_text() -> tuple[str, str]:
    """Return a story of the corpus that is long enough, cut at a paragraph, and its name; without a corpus, one of common words."""
    if CORPUS.exists():
        with gzip.open(CORPUS, "rt", encoding="utf-8") as lines:
            stories = [story for line in lines if (story := json.loads(line))["word_count"] >= WORDS]
        story = min(stories, key=lambda one: (one["word_count"], one["id"]))
        return _cut(story["text"].split("\n\n")), f"{story['author']}, {story['title']}"
    dice = random.Random(1)
    common = [
        "the",
        "a",
        "harbour",
        "lamp",
        "had",
        "been",
        "lit",
        "by",
        "nobody",
        "and",
        "she",
        "went",
        "down",
        "slowly",
    ]
    made = [" ".join(dice.choices(common, k=dice.randint(8, 110))) + "." for _ in range(400)]
    return _cut(made), "made of common words"


def _cut(paragraphs: list[str]) -> str:
    kept, words = [], 0
    for paragraph in paragraphs:
        kept.append(paragraph)
        words += len(paragraph.split())
        if words >= WORDS:
            break
    return "\n\n".join(kept)


@contextmanager
def site() -> Iterator[Stack]:
    """Start Longhand with databases of its own and without a model server."""
    with databases() as folder, running(folder, "http://127.0.0.1:9") as stack:
        yield stack


def marked_take(stack: Stack, text: str, marks: int) -> int:
    """Make a take with marks of 4 to 60 words at random places. Returns its id."""
    given = {"title": "A long one", "premise": "It is long.", "target_words": WORDS, "text": text, "start": False}
    story = stack.api("POST", "/stories", given)["id"]
    stack.api("PUT", f"/stories/{story}/sharing", {"consent": "reading", "given": True})
    take = stack.api("POST", f"/offered/{story}", role="editor")
    versions = [one["version"] for one in stack.api("GET", "/principles", role="editor")]
    words = [(found.start(), found.end()) for found in re.finditer(r"\S+", take["text"])]
    dice = random.Random(2)
    for number in range(marks):
        first = dice.randrange(len(words) - 60)
        start, end = words[first][0], words[first + dice.randint(3, 59)][1]
        stack.api("PUT", f"/acts/{uuid4().hex}", {
            "kind": "mark", "id": str(uuid4()), "take": take["id"], "start": start, "end": end, "quote": take["text"][start:end],
            "version": dice.choice(versions), "severity": 1 + number % 3, "note": "A note." if number % 2 else "", "better": "",
        }, role="editor")  # fmt: skip
    return int(take["id"])


def sentence(keys: int) -> list[str]:
    text = "This says again what the scene has shown, and says it less well. "
    return [text[number % len(text)] for number in range(keys)]


def bare_field(browser: Browser, keys: int) -> float:
    """Return the p95 of the same keys in a page with only a text field, which is the cost of the browser and of the measurement."""
    page = browser.new_page(viewport={"width": 1200, "height": 850})
    page.set_content("<textarea rows=2 cols=40></textarea>")
    page.focus("textarea")
    spent = p95([work for _, work in Editor(page).press(sentence(keys))])
    page.context.close()
    return round(spent, 1)


class Editor:
    def __init__(self, page: Page) -> None:
        self.page = page
        # Each session has its own clock: the second counts the CPU time of the thread.
        self.session, self.processor = (page.context.new_cdp_session(page) for _ in range(2))
        self.session.send("Performance.enable")
        self.processor.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy(self) -> tuple[float, float]:
        """Return the milliseconds of the page's main thread so far: wall-clock time and CPU time."""
        wall, work = (
            next(
                one["value"]
                for one in session.send("Performance.getMetrics")["metrics"]
                if one["name"] == "TaskDuration"
            )
            for session in (self.session, self.processor)
        )
        return 1000 * float(wall), 1000 * float(work)

    def settle(self) -> None:
        self.page.evaluate(SETTLED)

    def watch(self) -> None:
        self.page.evaluate("seen.watch()")

    def painted(self, keys: int) -> tuple[float, str]:
        """Return the p95 from a key to its paint since `watch`, by the slower of two clocks, and a note of both."""
        self.page.wait_for_timeout(300)  # the Event Timing API reports late
        paints, events = self.page.evaluate("(seen.rest(), [seen.paints, seen.events])")
        assert len(paints) == keys, f"{len(paints)} paints of {keys} keys"
        # The API does not report events of less than 16 ms.
        timing = p95([*events, *[16.0] * (keys - len(events))])
        note = f"frame {statistics.median(paints):.0f} and {p95(paints):.0f} ms, Event Timing {timing:.0f} ms"
        return max(p95(paints), timing), note

    def measure_palette(self, times: int) -> Measure:
        """Measure the time from the key to the palette, at places all over the text."""
        page = self.page
        page.focus("#text")
        page.keyboard.press("Home")
        for _ in range(3):  # warm-up
            page.keyboard.press("m")
            self.settle()
            page.keyboard.press("Escape")
        taken: list[float] = []
        for number in range(times):
            for _ in range(MARKS // times - 1 if number % 2 else 3):
                page.keyboard.press("n")
            page.keyboard.press("ArrowRight")
            page.keyboard.press("Shift+ArrowRight")
            self.settle()
            self.page.wait_for_timeout(120)  # pending work of the keys before is finished
            self.watch()
            page.keyboard.press("m")
            self.settle()
            assert page.evaluate("document.activeElement.id") == "palette-filter"
            taken.append(self.painted(1)[0])
            page.keyboard.press("Escape")
        note = f"key m to the palette on the screen, {times} times; median {statistics.median(taken):.0f} ms; the slower of two clocks"
        return Measure("palette_ms_p95", round(p95(taken), 1), "ms", "lower", note=note)

    def press(self, keys: list[str]) -> list[tuple[float, float]]:
        """Press keys, and return the main thread's wall-clock and CPU milliseconds for each, including the measurement."""
        spent = []
        for key in keys:
            before = self.busy()
            self.page.keyboard.press(key)
            time.sleep(0.06)  # until its frame is painted
            after = self.busy()
            spent.append((after[0] - before[0], after[1] - before[1]))
        return spent

    def measure_typing(self, times: int, bare: float) -> list[Measure]:
        """Measure typing in the filter and in the note: once for the CPU time, without other measurements, and once for the paint."""
        page = self.page
        letters = "particular thing moral reader scene voice said"
        filtering = ["Backspace" if n % 4 == 3 else letters[n % len(letters)] for n in range(times)]
        noting = sentence(times)

        def go_to_note() -> None:
            page.keyboard.press("Enter")
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.id") == "palette-note"

        page.keyboard.press("m")
        time.sleep(1)
        in_filter = self.press(filtering)
        go_to_note()
        in_note = self.press(noting)
        page.keyboard.press("Escape")
        page.keyboard.press("m")
        time.sleep(1)
        self.watch()
        self.press(filtering)
        go_to_note()
        self.press(noting)
        worst, paint_note = self.painted(2 * times + 2)
        page.keyboard.press("Escape")
        wall, work = zip(*in_filter, *in_note, strict=True)
        parts = ", ".join(
            f"{len(spent)} keys in the {where} (p95 {p95([work for _, work in spent]):.1f})"
            for where, spent in (("filter", in_filter), ("note", in_note))
        )
        note = f"{parts}; median {statistics.median(work):.1f} ms; wall-clock time median {statistics.median(wall):.1f}, p95 {p95(wall):.1f} ms"
        return [
            Measure(
                "keystroke_work_ms_p95",
                round(p95(work), 1),
                "ms",
                "lower",
                peer="a page with only a text field",
                peer_value=bare,
                note=f"CPU time of the main thread, including the measurement; a page with only a text field {bare} ms; {note}",
            ),
            Measure("keystroke_paint_ms_p95", round(worst, 1), "ms", "lower", note=f"as many keys again; {paint_note}"),
        ]

    def measure_scrolling(self, rounds: int) -> Measure:
        """Measure scrolling from one end of the text to the other and back, with touchpad gestures."""
        page = self.page
        height = page.evaluate("document.documentElement.scrollHeight")
        frames: list[float] = []
        for number in range(rounds):
            page.evaluate(FRAMES)
            down = number % 2 == 0
            self.session.send("Input.synthesizeScrollGesture", {
                "x": 400, "y": 400, "yDistance": -height if down else height, "speed": 3000, "gestureSourceType": "mouse",
                "preventFling": True,
            })  # fmt: skip
            frames += page.evaluate("(seen.watching = false, seen.frames)")
        late = sum(frame > 25 for frame in frames)
        note = (
            f"{len(frames)} frames of {rounds} gestures over {height:,} px at 3,000 px/s; median {statistics.median(frames):.1f} ms, "
            f"worst {max(frames):.0f} ms, {late} later than 25 ms; time between animation frames"
        )
        return Measure("frame_interval_ms_p95", round(p95(frames), 1), "ms", "lower", note=note)


def measure(stack: Stack, marks: int, times: int) -> tuple[list[Measure], dict[str, Any]]:
    text, name = corpus_text()
    take = marked_take(stack, text, marks)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 850})
        page.add_init_script(WATCH)
        sign_in(page, stack, stack.accounts["editor"])
        page.goto(f"{stack.url}/desk/texts/{take}")
        page.wait_for_selector("body[data-ready]")
        count = page.locator("#marks > li").count()
        assert count == marks, count
        spans = [(mark["start"], mark["end"]) for mark in stack.api("GET", f"/takes/{take}/marks", role="editor")]
        over = sum(any(a < d and c < b for c, d in spans[:n] + spans[n + 1 :]) for n, (a, b) in enumerate(spans))
        editor = Editor(page)
        bare = bare_field(browser, 2 * times)
        measures = [editor.measure_palette(times), editor.measure_scrolling(4), *editor.measure_typing(2 * times, bare)]
        settings = {
            "text": name, "words": len(text.split()), "paragraphs": text.count("\n\n") + 1, "marks": marks,
            "marks over others": over, "browser": browser.version, "window": "1200 x 850, no GPU",
        }  # fmt: skip
        browser.contexts[0].close()
    return measures, settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--miniature", action="store_true", help="20 times instead of 100")
    options = parser.parse_args()
    with site() as stack:
        measures, settings = measure(stack, MARKS, 20 if options.miniature else 100)
    write("marking", measures, settings, miniature=options.miniature)


if __name__ == "__main__":
    main()
