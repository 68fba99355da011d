"""How soon a rollback counts, how soon a training's figures are on the page that shows it, and how long the whole circle takes.

    python -m benchmarks.studio [--rounds 5] [--miniature]

A house is started as `make run` does, with its own vLLM and the demo model, and its pages are used in Chromium.

**Rollback.** A version, which is an LoRA adapter, is in service. Each round promotes another one that was not loaded before, over the
gate, and rolls back. The time of the rollback is from the click on the button until the page says that the earlier version is in
service, a writer has then begun a new story, its first words are on the writer's page, and the page names that version as its writer.
The pages of the studio are loaded again four times a second; the password is typed where it is asked for.

**Events.** A preference training from made-up judgement, on the processor, by the house's GPU worker, while Chromium has the run's page open.
For each step: the moment at which the page's text first shows that step or a later one, less the time that the training
itself wrote beside the step's figures. Both are of one clock.

**Circle.** The test of the whole circle (`tests/e2e/test_studio.py`): votes, one click, training, the report, an arena with seven votes, promotion, a story
by the new version, rollback. It measures itself; here nothing else runs beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4
from xml.etree import ElementTree

from playwright.sync_api import Browser, Locator, Page, sync_playwright

from benchmarks.house import ROOT, House, house
from benchmarks.report import Measure, write
from workers.serving.loading import served_names

PAIRS, BATCH = 64, 2
WATCH = """
new MutationObserver(() => {
    const found = /^step ([\\d,]+)/.exec(document.getElementById("progress")?.textContent ?? "");
    if (!found) return;
    const shown = JSON.parse(sessionStorage.shown ?? "[]"), step = Number(found[1].replaceAll(",", ""));
    if (step !== shown.at(-1)?.[0]) sessionStorage.shown = JSON.stringify([...shown, [step, Date.now() / 1000]]);
}).observe(document, {childList: true, subtree: true, characterData: true});
"""
"""Notes when another step is shown; it outlives that the page is loaded again."""


def lay_out(at: House, versions: int) -> list[tuple[int, str]]:
    """Versions of one adapter, by number and name, and a snapshot of made-up judgement."""
    os.environ |= at.environment | {"DJANGO_SETTINGS_MODULE": "webapp.settings", "DEBUG": "true", "VAR": str(at.var)}
    import django

    django.setup()
    import webapp.celery  # noqa: F401  (knows the broker through which a snapshot is asked for)
    from training.common.manifest import make_manifest, sha256_of
    from workers.folders import studio
    from writer.accounts.models import User
    from writer.editorial.models import Making, Snapshot
    from writer.editorial.operations.make_snapshot import ask_snapshot
    from writer.editorial.snapshots.query import SnapshotQuery
    from writer.stories.models import ModelVersion
    from writer.stories.operations.deploy import in_service

    judge()
    asked = ask_snapshot(by=User.objects.get(email="admin@longhand.test"), query=SnapshotQuery(least_votes=1))
    folder = studio() / "versions" / "bench"
    make_adapter(folder)
    manifest = make_manifest(folder, ["model", "adapter"])
    made = [
        ModelVersion.objects.create(
            name=f"adapter {number}",
            served_name=f"longhand-bench-{number}",
            tokenizer=str(folder / "model"),
            parent=in_service(),
            folder="versions/bench",
            manifest=manifest,
            sha256=sha256_of(manifest),
        )
        for number in range(versions)
    ]
    ready = Snapshot.objects.filter(pk=asked.pk, state=Making.READY)
    until(ready.exists, lambda: "no snapshot was made")
    url, key = at.environment["MODEL_SERVER_URL"], at.environment["MODEL_SERVER_KEY"]
    until(lambda: bool(served_names(url, key)), lambda: "vLLM does not answer")
    return [(version.pk, version.name) for version in made]


def make_adapter(folder: Path) -> None:
    """The demo model turned round a little, as a training would leave it."""
    import torch

    from training.config.learner import LearnerSettings, Lora
    from training.learner.export import save_model
    from training.learner.models import load_model

    base = ROOT / "demo" / "model"
    settings = LearnerSettings(precision="float32", lora=Lora(rank=8, alpha=16))
    model = load_model(base, settings)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".lora_B." in name:
                weight.normal_(0, 0.02)
    weights = {f"model.{name}": one for name, one in model.state_dict().items()}
    save_model(weights, model, base, folder / "model", "# A version\n", settings)


def judge() -> None:
    """An editor who prefers plain sentences."""
    from writer.accounts.models import User
    from writer.editorial.acts import VoteAct
    from writer.editorial.models import Pair, PairSource, Reading
    from writer.editorial.operations.act import act
    from writer.editorial.operations.freeze import brief_of, take_of

    editor = User.objects.get(email="editor@longhand.test")
    for number in range(PAIRS):
        place = f"{('mill', 'harbour', 'orchard', 'chapel')[number % 4]} of {number} windows"
        brief = brief_of(None, title=f"The {place}", premise=f"Somebody comes to the {place}.", target=200)
        plain = f"He came to the {place}. He sat down. Nobody spoke. “Well?” she said. It was late. The lamp was lit. "
        ornate = (
            f"When at length, after many a weary hour, he came within sight of the {place}, which lay before him as it had lain before "
            "his father, he was conscious of a feeling which he could not have named, and which he would certainly have denied. "
        )
        pair = Pair.objects.create(
            brief=brief, first=take_of(brief, plain * 4), second=take_of(brief, ornate * 3), source=PairSource.ASKED, overlap=1
        )  # fmt: skip
        reading = Reading.objects.create(
            pair=pair, editor=editor, swapped=False, seen_left=[[0, 99]], seen_right=[[0, 99]]
        )
        act(by=editor, op_id=uuid4().hex, asked=VoteAct(kind="vote", reading=reading.pk, preference=-2, principles=[]))


def until(there: Callable[[], bool], why: Callable[[], str], seconds: float = 180, pause: float = 0.25) -> None:
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            raise SystemExit(why())
        time.sleep(pause)


class Person:
    """Somebody signed in, with one window."""

    def __init__(self, browser: Browser, at: House, role: str) -> None:
        self.page = browser.new_context(viewport={"width": 1200, "height": 900}).new_page()
        self.page.set_default_timeout(60_000)
        self.at, self.password = at, at.passwords[role]
        self.open("/account/login/")
        self.page.get_by_label("Email").fill(f"{role}@longhand.test")
        self.page.get_by_label("Password").fill(self.password)
        self.press(self.button("Sign in"))

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.at.url}{path}")
        return self.page

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name)

    def press(self, button: Locator) -> float:
        """Press a button that leads to another page, with the password again where it is asked for: when it was pressed."""
        pressed = time.monotonic()
        with self.page.expect_navigation():
            button.click()
        if "reauthenticate" in self.page.url:
            self.page.get_by_label("Password").fill(self.password)
            with self.page.expect_navigation():
                self.button("Confirm").click()
        return pressed

    def sees_in_service(self, name: str) -> None:
        said = f"{name} writes the stories"
        until(
            lambda: said in self.open("/studio/").locator("p.lead").inner_text(),
            lambda: f"{name} is not in service: {self.page.locator('main').inner_text()}",
        )

    def promotes(self, version: int, name: str) -> float:
        """Seconds from the click until it is in service."""
        page = self.open(f"/studio/versions/{version}")
        page.get_by_text("Overrule the gate").click()
        page.get_by_label("Why").fill("It is promoted for a benchmark.")
        pressed = self.press(self.button("Promote all the same"))
        self.sees_in_service(name)
        return time.monotonic() - pressed

    def begins_a_story(self, name: str) -> float:
        """When its first words were seen; SystemExit if another version is named as its writer."""
        page = self.open("/new")
        page.get_by_label("Title").fill("The tide")
        page.get_by_label("Premise").fill("A harbour counts its waves.")
        page.get_by_label("Words", exact=True).fill("200")
        self.press(self.button("Begin writing"))
        page.locator("#words", has_text=re.compile("^[1-9]")).wait_for()
        seen = time.monotonic()
        said = page.locator(".provenance").inner_text()
        if not said.startswith(f"Written by the {name}."):
            raise SystemExit(f"The story was not written by {name}: {said}")
        page.wait_for_selector("body[data-state=done]")  # so that it is not in the way of what is measured next
        return seen


def rollbacks(admin: Person, writer: Person, versions: Sequence[tuple[int, str]]) -> list[Measure]:
    (first, before), *others = versions
    promoted, said, written = [admin.promotes(first, before)], [], []
    for version, name in others:
        promoted.append(admin.promotes(version, name))
        writer.begins_a_story(name)
        admin.open("/studio/")
        pressed = admin.press(admin.button(f"Roll back to {before}"))
        admin.sees_in_service(before)
        said.append(time.monotonic() - pressed)
        written.append(writer.begins_a_story(before) - pressed)
        print(f"promoted in {promoted[-1]:.1f} s, rolled back in {said[-1]:.1f} s, first words {written[-1]:.1f} s")
    note = (
        f"click to the first words of a new story by the version before, worst of {len(written)}; median "
        f"{statistics.median(written):.1f} s; until the page says that it is in service, median {statistics.median(said):.1f} s, "
        f"worst {max(said):.1f} s"
    )
    return [
        Measure("rollback_s", round(max(written), 1), "s", "lower", note=note),
        Measure("rollback_s_median", round(statistics.median(written), 1), "s", "lower"),
        Measure("promote_s", round(max(promoted), 1), "s", "lower",
                note=f"click to in service, an adapter that was not loaded, worst of {len(promoted)}; "
                f"median {statistics.median(promoted):.1f} s"),
    ]  # fmt: skip


def events_lag(admin: Person, epochs: int) -> list[Measure]:
    page = admin.open("/studio/runs/new/dpo")
    page.get_by_label("Learns from").select_option(index=1)
    page.locator("[name='s.batch']").fill(str(BATCH))
    page.locator("[name='s.epochs']").fill(str(epochs))
    admin.press(admin.button("Plan it"))
    page.add_init_script(WATCH)
    run = page.url.rpartition("/")[2]
    admin.press(admin.button("Start"))  # which is there when a worker has planned the run
    state = page.locator("#state")
    until(lambda: state.inner_text() in ("Finished", "Failed"), lambda: f"run {run}: {state.inner_text()}", 900, 1)
    shown: list[tuple[int, float]] = json.loads(page.evaluate("sessionStorage.shown ?? '[]'"))
    told: dict[int, float] = {}
    for line in (admin.at.var / "studio" / "runs" / run / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["kind"] == "metrics":
            told.setdefault(event["step"], event["time"])  # the last step is told of again, when the rest was measured
    if page.locator("#problem").is_visible() or not told:
        raise SystemExit(f"run {run}: {page.locator('main').inner_text()}")
    lags = sorted(min(when for step, when in shown if step >= wanted) - time_ for wanted, time_ in told.items())
    p95 = lags[int(0.95 * len(lags))]
    times = list(told.values())
    note = (
        f"written by the training to seen in Chromium, {len(lags)} events in {times[-1] - times[0]:.0f} s; median "
        f"{statistics.median(lags):.2f} s, worst {lags[-1]:.2f} s; the page showed {len({step for step, _ in shown})} of the steps"
    )
    return [
        Measure("events_lag_s_p95", round(p95, 2), "s", "lower", note=note),
        Measure("events_lag_s_p50", round(statistics.median(lags), 2), "s", "lower"),
    ]


def circle() -> Measure:
    """By the test, in a process of its own, with its own servers."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.xml"
        test = "tests/e2e/test_studio.py::test_the_circle"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={found}", test],
            cwd=ROOT,
            check=True,
        )
        (told,) = ElementTree.parse(found).iterfind(".//property[@name='circle_s']")
    seconds = round(float(told.attrib["value"]), 1)
    return Measure(
        "circle_s",
        seconds,
        "s",
        "lower",
        note="from 16 votes to the rollback, by clicks in Chromium, on the demo model",
    )


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--miniature", action="store_true", help="one round, and a quarter of the training")
    options = parser.parse_args()
    rounds, epochs = (1, 1) if options.miniature else (options.rounds, 4)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it otherwise
    with house("", "") as at:
        versions = lay_out(at, rounds + 1)  # before the browser, in whose thread the database may not be asked
        with chromium() as browser:
            admin, writer = Person(browser, at, "admin"), Person(browser, at, "writer")
            measures = [*rollbacks(admin, writer, versions), *events_lag(admin, epochs)]
            settings: dict[str, Any] = {
                "model": "demo/model on vLLM, versions are LoRA adapters of rank 8", "browser": browser.version,
                "rounds": rounds, "training": {"recipe": "dpo", "pairs": PAIRS, "batch": BATCH, "epochs": epochs},
            }  # fmt: skip
    measures.append(circle())
    write("studio", measures, settings, miniature=options.miniature)


if __name__ == "__main__":
    main()
