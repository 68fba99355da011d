"""Whether a long text with many marks stays quick under the keys of an editor.

    python -m benchmarks.marking [--miniature]

A text of 12,000 words with 400 marks that lie over each other, in Chromium, on the pages as `make run` serves them. The
keys are pressed by the browser's own input (Playwright), not by scripts. What a key costs the page is asked of the browser: the
processor time of its main thread in tasks of any kind (`TaskDuration`; drawing, the collection of garbage and the asking included); the
time by the clock, in which other processes of the machine have their share, is in the note. When something was painted is
known in two ways, and the slower counts: a message posted from the animation frame after the key, and the duration that the Event
Timing API gives, which lasts until the frame is presented and is rounded to 8 ms.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import re
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from playwright.sync_api import Browser, Page

from benchmarks.report import Measure, write
from tests.e2e.browser import chromium, sign_in
from tests.e2e.stack import Stack, running
from workers.embedded.postgres import PostgreSQL
from workers.embedded.redis import Redis
from workers.embedded.state import home, server_owner

ROOT = Path(__file__).resolve().parent.parent
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
    """A story that is long enough, cut at a paragraph, and its name; or one made of common words, where there is no corpus."""
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
def house() -> Iterator[Stack]:
    """Longhand on a PostgreSQL and a Redis of this run alone. No model writes."""
    with ExitStack() as rooms:
        folder = Path(rooms.enter_context(tempfile.TemporaryDirectory(prefix="longhand-bench-")))
        owner = server_owner()
        postgres, redis = PostgreSQL(home(folder, owner)), Redis(home(folder, owner))
        log = rooms.enter_context((folder / "servers.log").open("wb"))
        for server in (postgres, redis):
            server.prepare()
            server.start(stdout=log)
            rooms.callback(server.stop)
            server.wait_ready()
        os.environ |= {"DATABASE_URL": postgres.url, "REDIS_URL": redis.url}
        yield rooms.enter_context(running(folder, "http://127.0.0.1:9"))


def marked_take(stack: Stack, text: str, marks: int) -> int:
    """A take with marks of 4 to 60 words that begin anywhere: its id."""
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


def p95(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


def sentence(keys: int) -> list[str]:
    said = "This says again what the scene has shown, and says it less well. "
    return [said[number % len(said)] for number in range(keys)]


def bare_field(browser: Browser, keys: int) -> float:
    """The p95 of the same keys in a page that holds nothing but a text field: what the browser and the asking cost by themselves."""
    page = browser.new_page(viewport={"width": 1200, "height": 850})
    page.set_content("<textarea rows=2 cols=40></textarea>")
    page.focus("textarea")
    spent = p95([work for _, work in Editor(page).strike(sentence(keys))])
    page.context.close()
    return round(spent, 1)


class Editor:
    def __init__(self, page: Page) -> None:
        self.page = page
        # Each session has a clock of its own: the second counts the time that the thread had the processor.
        self.session, self.processor = (page.context.new_cdp_session(page) for _ in range(2))
        self.session.send("Performance.enable")
        self.processor.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy(self) -> tuple[float, float]:
        """Milliseconds that the page's main thread has worked so far: by the clock, and of the processor."""
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
        """The p95 from a key to its paint since `watch`, by the slower of two clocks, and what both say."""
        self.page.wait_for_timeout(300)  # the Event Timing API tells late
        paints, events = self.page.evaluate("(seen.rest(), [seen.paints, seen.events])")
        assert len(paints) == keys, f"{len(paints)} paints of {keys} keys"
        # What takes less than 16 ms the API does not tell at all.
        timing = p95([*events, *[16.0] * (keys - len(events))])
        said = f"frame {statistics.median(paints):.0f} and {p95(paints):.0f} ms, Event Timing {timing:.0f} ms"
        return max(p95(paints), timing), said

    def opens(self, times: int) -> Measure:
        """From the key to the palette, at places all over the text."""
        page = self.page
        page.focus("#text")
        page.keyboard.press("Home")
        for _ in range(3):  # what a browser compiles and lays out once
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
            self.page.wait_for_timeout(120)  # what the walk left to do is done
            self.watch()
            page.keyboard.press("m")
            self.settle()
            assert page.evaluate("document.activeElement.id") == "palette-filter"
            taken.append(self.painted(1)[0])
            page.keyboard.press("Escape")
        note = f"key m to the palette on the screen, {times} times; median {statistics.median(taken):.0f} ms; the slower of two clocks"
        return Measure("palette_ms_p95", round(p95(taken), 1), "ms", "lower", note=note)

    def strike(self, keys: list[str]) -> list[tuple[float, float]]:
        """What each key cost the main thread, by the clock and of the processor; asking for it is included."""
        spent = []
        for key in keys:
            before = self.busy()
            self.page.keyboard.press(key)
            time.sleep(0.06)  # its frame is drawn by then, and nothing else was asked of the page
            after = self.busy()
            spent.append((after[0] - before[0], after[1] - before[1]))
        return spent

    def types(self, times: int, bare: float) -> list[Measure]:
        """Letters in the filter and in the note: once for the work, with nothing else watching, once for the paint."""
        page = self.page
        letters = "particular thing moral reader scene voice said"
        filtering = ["Backspace" if n % 4 == 3 else letters[n % len(letters)] for n in range(times)]
        noting = sentence(times)

        def on_to_the_note() -> None:
            page.keyboard.press("Enter")
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.id") == "palette-note"

        page.keyboard.press("m")
        time.sleep(1)
        in_filter = self.strike(filtering)
        on_to_the_note()
        in_note = self.strike(noting)
        page.keyboard.press("Escape")
        page.keyboard.press("m")
        time.sleep(1)
        self.watch()
        self.strike(filtering)
        on_to_the_note()
        self.strike(noting)
        worst, said = self.painted(2 * times + 2)
        page.keyboard.press("Escape")
        wall, work = zip(*in_filter, *in_note, strict=True)
        parts = ", ".join(
            f"{len(spent)} keys in the {where} (p95 {p95([work for _, work in spent]):.1f})"
            for where, spent in (("filter", in_filter), ("note", in_note))
        )
        note = f"{parts}; median {statistics.median(work):.1f} ms; by the clock median {statistics.median(wall):.1f}, p95 {p95(wall):.1f} ms"
        return [
            Measure(
                "keystroke_work_ms_p95",
                round(p95(work), 1),
                "ms",
                "lower",
                peer="a page with nothing but a text field",
                peer_value=bare,
                note=f"processor time of the main thread, asking for it included; a page with nothing but a text field {bare} ms; {note}",
            ),
            Measure("keystroke_paint_ms_p95", round(worst, 1), "ms", "lower", note=f"as many keys again; {said}"),
        ]

    def scrolls(self, rounds: int) -> Measure:
        """From one end of the text to the other and back, as a hand on a touchpad does."""
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
        measures = [editor.opens(times), editor.scrolls(4), *editor.types(2 * times, bare)]
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
    with house() as stack:
        measures, settings = measure(stack, MARKS, 20 if options.miniature else 100)
    write("marking", measures, settings, miniature=options.miniature)


if __name__ == "__main__":
    main()
