"""The time of a rollback, the delay of a run's metrics on its page, and the time of the whole circle.

    python -m benchmarks.studio [--rounds 5] [--miniature]

A site is started as by `make run`, with its own vLLM and the demo model, and its pages are used in Chromium.

**Rollback.** A version, which is a LoRA adapter, is in service. Each round promotes another version that is not loaded yet, overruling the gate,
and rolls back. The time of the rollback is from the click on the button until the studio names the earlier version as in service, a writer has
started a new story, its first words are on the writer's page, and the page names that version as its writer. The studio's pages are reloaded four
times a second; the password is entered when asked for.

**Events.** A preference training from made-up judgement, on the CPU, by the site's GPU worker, while Chromium shows the run's page. The delay of a
step is the time at which the page first shows that step or a later one, minus the time in the step's event.

**Circle.** The test of the whole circle (`tests/e2e/test_studio.py`), which measures itself: votes, one click, training, the report, an arena with
seven votes, promotion, a story by the new version, rollback.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4
from xml.etree import ElementTree

from playwright.sync_api import Browser, Locator, Page

from benchmarks.report import ROOT, Measure, p95, write
from benchmarks.site import Site, running_site
from tests.e2e.browser import chromium
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
"""Records when a new step is shown, also over reloads of the page."""


def fill(at: Site, versions: int) -> list[tuple[int, str]]:
    """Make versions of one adapter and a snapshot of made-up judgement. Returns the versions' ids and names."""
    os.environ |= at.environment | {"DJANGO_SETTINGS_MODULE": "webapp.settings", "DEBUG": "true", "VAR": str(at.var)}
    import django

    django.setup()
    import webapp.celery  # noqa: F401  (configures the broker for the request of a snapshot)
    from training.common.manifest import make_manifest, sha256_of
    from workers.folders import studio
    from writer.accounts.models import User
    from writer.editorial.models import Making, Snapshot
    from writer.editorial.operations.make_snapshot import ask_snapshot
    from writer.editorial.snapshots.query import SnapshotQuery
    from writer.stories.models import ModelVersion
    from writer.stories.operations.deploy import in_service

    vote()
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
    until(lambda: bool(served_names(url, key)), lambda: "vLLM does not respond")
    return [(version.pk, version.name) for version in made]


def make_adapter(folder: Path) -> None:
    """Write the demo model with a random adapter, in the files that a training writes."""
    import torch

    from training.config.learner import LearnerSettings, Lora
    from training.learner.engine import Learner
    from training.learner.export import save_model
    from training.learner.models import load_model
    from training.learner.probe import fixed_text, learner_logprobs

    base = ROOT / "demo" / "model"
    settings = LearnerSettings(precision="float32", lora=Lora(rank=8, alpha=16))
    torch.manual_seed(1)
    learner = Learner(load_model(base, settings), settings, packed=False)
    with torch.no_grad():
        for name, weight in learner.model.named_parameters():
            if ".lora_B." in name:
                weight.normal_(0, 0.02)
    text = fixed_text(learner.model.config.get_text_config().vocab_size, 16)
    probe = text, learner_logprobs(learner, text)
    save_model(learner.engine.weights(), learner.model, base, folder / "model", "# A version\n", settings, probe)


def vote() -> None:
    """Vote as an editor who prefers short sentences."""
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


def until(condition: Callable[[], bool], why: Callable[[], str], seconds: float = 180, pause: float = 0.25) -> None:
    """Wait for a condition. Raises SystemExit with the reason if it does not hold in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(why())
        time.sleep(pause)


class Person:
    """A person who is signed in, with one window."""

    def __init__(self, browser: Browser, at: Site, role: str) -> None:
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
        """Press a button that leads to another page, and enter the password if asked for. Returns the time at which it was pressed."""
        pressed = time.monotonic()
        with self.page.expect_navigation():
            button.click()
        if "reauthenticate" in self.page.url:
            self.page.get_by_label("Password").fill(self.password)
            with self.page.expect_navigation():
                self.button("Confirm").click()
        return pressed

    def wait_in_service(self, name: str) -> None:
        text = f"{name} writes the stories"
        until(
            lambda: text in self.open("/studio/").locator("p.lead").inner_text(),
            lambda: f"{name} is not in service: {self.page.locator('main').inner_text()}",
        )

    def promote(self, version: int, name: str) -> float:
        """Promote a version. Returns the seconds from the click until it is in service."""
        page = self.open(f"/studio/versions/{version}")
        page.get_by_text("Overrule the gate").click()
        page.get_by_label("Why").fill("It is promoted for a benchmark.")
        pressed = self.press(self.button("Promote all the same"))
        self.wait_in_service(name)
        return time.monotonic() - pressed

    def start_story(self, name: str) -> float:
        """Start a story. Returns the time of its first words. Raises SystemExit if the page names another version as its writer."""
        page = self.open("/new")
        page.get_by_label("Title").fill("The tide")
        page.get_by_label("Premise").fill("A harbour counts its waves.")
        page.get_by_label("Words", exact=True).fill("200")
        self.press(self.button("Begin writing"))
        page.locator("#words", has_text=re.compile("^[1-9]")).wait_for()
        seen = time.monotonic()
        provenance = page.locator(".provenance").inner_text()
        if not provenance.startswith(f"Written by the {name}."):
            raise SystemExit(f"The story was not written by {name}: {provenance}")
        page.wait_for_selector("body[data-state=done]")  # so that it does not disturb the next measurement
        return seen


def rollbacks(admin: Person, writer: Person, versions: Sequence[tuple[int, str]]) -> list[Measure]:
    (first, before), *others = versions
    promoted, in_service, written = [admin.promote(first, before)], [], []
    for version, name in others:
        promoted.append(admin.promote(version, name))
        writer.start_story(name)
        admin.open("/studio/")
        pressed = admin.press(admin.button(f"Roll back to {before}"))
        admin.wait_in_service(before)
        in_service.append(time.monotonic() - pressed)
        written.append(writer.start_story(before) - pressed)
        print(
            f"promoted in {promoted[-1]:.1f} s, rolled back in {in_service[-1]:.1f} s, first words {written[-1]:.1f} s"
        )
    note = (
        f"click to the first words of a new story by the version before, worst of {len(written)}; median "
        f"{statistics.median(written):.1f} s; until the page names it as in service, median {statistics.median(in_service):.1f} s, "
        f"worst {max(in_service):.1f} s"
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
    admin.press(admin.button("Start"))  # which appears when a worker has planned the run
    state = page.locator("#state")
    until(lambda: state.inner_text() in ("Finished", "Failed"), lambda: f"run {run}: {state.inner_text()}", 900, 1)
    shown: list[tuple[int, float]] = json.loads(page.evaluate("sessionStorage.shown ?? '[]'"))
    written: dict[int, float] = {}
    for line in (admin.at.var / "studio" / "runs" / run / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["kind"] == "metrics":
            written.setdefault(event["step"], event["time"])  # an evaluation has an event for the same step
    if page.locator("#problem").is_visible() or not written:
        raise SystemExit(f"run {run}: {page.locator('main').inner_text()}")
    lags = [min(when for step, when in shown if step >= wanted) - at for wanted, at in written.items()]
    times = list(written.values())
    note = (
        f"written by the training to seen in Chromium, {len(lags)} events in {times[-1] - times[0]:.0f} s; median "
        f"{statistics.median(lags):.2f} s, worst {max(lags):.2f} s; the page showed {len({step for step, _ in shown})} of the steps"
    )
    return [
        Measure("events_lag_s_p95", round(p95(lags), 2), "s", "lower", note=note),
        Measure("events_lag_s_p50", round(statistics.median(lags), 2), "s", "lower"),
    ]


def circle() -> Measure:
    """Run the test in a process of its own, with its own servers."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.xml"
        test = "tests/e2e/test_studio.py::test_the_circle"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={found}", test],
            cwd=ROOT,
            check=True,
        )
        (entry,) = ElementTree.parse(found).iterfind(".//property[@name='circle_s']")
    seconds = round(float(entry.attrib["value"]), 1)
    return Measure(
        "circle_s",
        seconds,
        "s",
        "lower",
        note="from 16 votes to the rollback, by clicks in Chromium, on the demo model",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--miniature", action="store_true", help="one round, and a quarter of the training")
    options = parser.parse_args()
    rounds, epochs = (1, 1) if options.miniature else (options.rounds, 4)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells ignore in background processes
    with running_site("", "") as at:
        versions = fill(at, rounds + 1)  # before the browser, whose thread may not use the database
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
