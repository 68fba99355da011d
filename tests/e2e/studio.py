"""The studio from end to end, whatever the model: votes and marks, one click, training, report, arena, promotion, a story, rollback."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.browser import WATCH, confirm, sign_in
from tests.e2e.stack import Stack
from tests.e2e.test_pages import check

PAIRS = 16
JUDGED = """
from uuid import uuid4
from writer.accounts.models import User
from writer.editorial.acts import MarkAct, VoteAct
from writer.editorial.models import Pair, PairSource, Principle, Reading
from writer.editorial.operations.act import act
from writer.editorial.operations.freeze import brief_of, take_of
editor = User.objects.get(email="editor@longhand.test")
principle = Principle.objects.select_related("current").filter(state="in_force")[0]
places = ["mill", "harbour", "orchard", "chapel", "bridge", "ferry", "market", "quarry"]
for number in range({pairs}):
    place = places[number % len(places)]
    brief = brief_of(None, title=f"The {{place}}, {{number}}", premise=f"Somebody comes to the {{place}} and does not say why.", target=200)
    short = f"He came to the {{place}}. He sat down. Nobody spoke. “Well?” she said. He said nothing. It was late. The lamp was lit. "
    long = (f"When at length, after many a weary hour upon the road, he came within sight of the {{place}}, which lay before him as it had lain before his father, "
        "he was conscious of a feeling which he could not have named, and which, had anybody asked him, he would certainly have denied. ")
    better, worse = take_of(brief, short * 4), take_of(brief, long * 3)
    pair = Pair.objects.create(brief=brief, first=better, second=worse, source=PairSource.ASKED, overlap=1)
    reading = Reading.objects.create(pair=pair, editor=editor, swapped=False, seen_left=[[0, 99]], seen_right=[[0, 99]])
    act(by=editor, op_id=uuid4().hex, asked=VoteAct(kind="vote", reading=reading.pk, preference=-2, principles=[principle.current_id]))
    if number < 2:
        act(by=editor, op_id=uuid4().hex, asked=MarkAct(kind="mark", id=uuid4(), take=worse.pk, start=0, end=14, quote=worse.text[:14],
            version=principle.current_id, note="", better="At last"))
"""
TURN = """
import json
from writer.editorial.models import Reading
from writer.studio.models import ArenaTake
reading = Reading.objects.select_related("pair").get(pk={reading!r})
left = reading.pair.second_id if reading.swapped else reading.pair.first_id
takes = ArenaTake.objects.filter(take=left, contestant__arena_id={arena}).select_related("contestant")
print(json.dumps(takes.exists() and takes[0].contestant.place == 0))
"""

Windows = Callable[[str], Page]
"""Opens a window of a role, signed in."""


@contextmanager
def windows(chrome: Browser, stack: Stack) -> Iterator[Windows]:
    contexts: dict[str, BrowserContext] = {}

    def of(role: str) -> Page:
        if role not in contexts:
            contexts[role] = chrome.new_context(viewport={"width": 1200, "height": 900})
            sign_in(contexts[role].new_page(), stack, stack.accounts[role])
        page = contexts[role].new_page()
        page.add_init_script(WATCH)
        page.set_default_timeout(20_000)
        return page

    yield of
    for context in contexts.values():
        context.close()


def until(page: Page, there: Callable[[], bool], seconds: float, why: str) -> None:
    """Load the page again until it says so."""
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, f"{why}: {page.locator('main').inner_text()[:1500]}"
        page.wait_for_timeout(1000)
        page.reload()


def circle(window: Windows, real: Stack, model: str, pictures: str = "", patience: float = 1) -> None:
    """Go round once with `model`, of whose stories nobody has judged any yet.

    `pictures` begins the names of its pictures; `patience` multiplies the time that a model has for its work.
    """
    real.run(JUDGED.format(pairs=PAIRS))
    admin = window("admin")
    admin.goto(f"{real.url}/studio/")
    expect(admin.get_by_text("writes the stories")).to_be_visible()
    until(
        admin,
        lambda: admin.get_by_role("region", name="Machines and their GPUs").count() == 1,
        60,
        "no machine said hello",
    )
    check(admin, f"{pictures}studio-empty", "light")
    admin.get_by_role("button", name="Retrain from the newest judgement").click()
    admin.wait_for_url("**/studio/runs/*")
    expect(admin.locator("#state")).to_have_text("Running", timeout=200_000 * patience)
    expect(admin.locator("#curves canvas").first).to_be_visible(timeout=200_000 * patience)
    check(admin, f"{pictures}run-running", "light")
    version = admin.get_by_role("link", name=re.compile(f"{model}, dpo"))
    expect(version).to_be_visible(timeout=400_000 * patience)
    expect(admin.locator("#state")).to_have_text("Finished")
    expect(admin.locator("#log")).to_contain_text("The model is in")
    check(admin, f"{pictures}run-finished", "light")
    version.first.click()
    name = admin.locator("h1").inner_text()

    until(
        admin,
        lambda: admin.get_by_role("heading", name="Words got of words asked").count() == 1,
        600 * patience,
        "no report",
    )
    check(admin, f"{pictures}version-report", "light")
    expect(admin.get_by_text("Edgar Editor")).to_be_visible()
    admin.get_by_role("link", name="Open an arena").click()
    admin.get_by_label("Pairs at most").fill("10")
    admin.get_by_label("Words a story").fill("200")
    admin.get_by_role("button", name="See what the rule does").click()
    expect(admin.get_by_role("row", name=re.compile("0.80 of pairs"))).to_be_visible()
    check(admin, f"{pictures}arena-new", "light")
    admin.get_by_role("button", name="Open it").click()
    admin.wait_for_url("**/studio/arenas/*")
    arena = admin.url.rpartition("/")[2]
    until(
        admin, lambda: admin.get_by_text("10 are written").count() == 1, 400 * patience, "the stories were not written"
    )

    editor = window("editor")
    for _ in range(7):
        vote_for_the_candidate(editor, real, arena)
    until(admin, lambda: admin.get_by_text("The candidate is better").count() == 1, 30, "it was not decided")
    check(admin, f"{pictures}arena-decided", "light")

    admin.get_by_role("link", name=name).first.click()
    admin.get_by_role("button", name="Promote").click()
    confirm(admin, real.accounts["admin"])
    until(
        admin, lambda: admin.locator("p.facts .state-running").count() == 1, 120 * patience, "it was not put in service"
    )
    story = real.new_story(200, title="The new lamp")
    real.wait_state(story, "done", 240 * patience)
    writer = window("writer")
    writer.goto(f"{real.url}/stories/{story}")
    expect(writer.get_by_text(f"Written by the {name}, temperature 0.8, min-p 0.05.")).to_be_visible()

    admin.goto(f"{real.url}/studio/")
    check(admin, f"{pictures}studio", "light")
    admin.get_by_role("button", name=f"Roll back to {model}").click()
    confirm(admin, real.accounts["admin"])
    until(admin, lambda: admin.get_by_text(f"{model} writes the stories").count() == 1, 60, "it was not rolled back")
    admin.goto(f"{real.url}/studio/ledger")
    expect(admin.get_by_role("row")).to_have_count(4)
    check(admin, f"{pictures}ledger", "light")
    admin.goto(f"{real.url}/studio/audit")
    for act in ("run.ask", "arena.open", "version.promote", "version.rollback"):
        expect(admin.get_by_role("cell", name=act, exact=True)).to_be_visible()
    check(admin, f"{pictures}audit", "light")


def vote_for_the_candidate(editor: Page, real: Stack, arena: str) -> None:
    editor.goto(f"{real.url}/desk/")
    editor.get_by_role("button", name=re.compile("pair", re.IGNORECASE)).first.click()
    editor.wait_for_url("**/desk/pairs/*")
    reading = editor.url.rpartition("/")[2]
    on_the_left = json.loads(real.run(TURN.format(reading=reading, arena=arena)))
    editor.keyboard.press("1" if on_the_left else "5")
    editor.keyboard.press("Enter")
    editor.wait_for_url(lambda url: reading not in url or url.endswith("/result"))
