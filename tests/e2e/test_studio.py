"""The studio from end to end on the demo model, with a real vLLM: votes and marks, one click, training, report, arena, promotion, a story, rollback."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.browser import WATCH, confirm, sign_in
from tests.e2e.stack import Process, Stack, running
from tests.e2e.test_pages import axe, check
from tests.servers import ServedModel

pytestmark = [pytest.mark.model, pytest.mark.xdist_group("circle")]

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


STAGE = """
from django.utils import timezone
from writer.accounts.models import User
from writer.studio.models import Dataset, DatasetKind, Run, RunState
admin, now = User.objects.get(email="admin@longhand.test"), timezone.now()
corpus = Dataset.objects.create(name="Old stories", kind=DatasetKind.TEXTS, folder="old", rows=1234, words=5_012_000, sha256="0" * 64, by=admin)
made = Dataset.objects.create(name="backtranslate 2", kind=DatasetKind.CONVERSATIONS, folder="made", rows=903, words=610_400, sha256="1" * 64, by=admin,
    card="# Requests for old stories. Made by `python -m training backtranslate`.")
report = {"rows": {"train": 812, "held_out": 91}, "cost": {"asked": 3105, "tokens_in": 2_410_233, "tokens_out": 702_118, "money": 3.4},
    "tasks": [{"task": "write", "asked": 200, "kept": 188}, {"task": "expand", "asked": 200, "kept": 171}],
    "dropped": {"no_answer": 12, "says_the_text": 41, "same_again": 7}}
run = Run.objects.create(recipe="backtranslate", settings={"tasks": ["write", "expand"]}, dataset=corpus, gpus=0, by=admin, note="Requests for the old stories",
    state=RunState.DONE, queued=now, started=now, finished=now, made=made, report=report, step=3105, steps=3105, plan={"rows": 1234, "teacher": "big-model at https://teacher.example", "questions": 3600})
print(run.pk)
"""
GRPO = """
from django.utils import timezone
from writer.accounts.models import User
from writer.stories.models import ModelVersion
from writer.studio.models import Dataset, Run, RunEvent, RunState
admin, now = User.objects.get(email="admin@longhand.test"), timezone.now()
requests = Dataset.objects.get(name="backtranslate 2")
names = {"reward": (0.31, 0.58), "reward_quality": (0.42, 0.61), "reward_length": (0.12, 0.03), "reward_repetition": (0.08, 0.05), "rubric_P1": (4.1, 5.9),
    "rubric_BONUS": (0.2, 1.1), "rubric_N1": (2.2, 1.4), "words": (812, 1104), "length_ratio": (0.68, 0.93), "repeated": (0.08, 0.05), "cut": (0.12, 0.0),
    "entropy": (2.91, 2.62), "divergence": (0.0, 0.041), "first_judge": (0.41, 0.6), "second_judge": (0.39, 0.52), "disagreement": (0.0, 0.01),
    "probe_padded": (-0.05, -0.02), "human_advantage": (1.8, 0.7)}
run = Run.objects.create(recipe="grpo", base=ModelVersion.objects.earliest("pk"), settings={"steps": 40, "batch": 8, "group": 8}, dataset=requests, gpus=4, by=admin, note="Longer, without padding",
    state=RunState.STOPPED, queued=now, started=now, finished=now, step=20, steps=40, plan={"rows": 812, "held_out": 91, "judges": ["judge-large at https://judge.example", "other-judge"], "steps": 40,
    "gpu_hours": 31.5, "hours_from": "reckoned from the cards", "text": "The whole plan."})
bodies = [{"values": {name: was + (end - was) * step / 20 for name, (was, end) in names.items()}} for step in range(1, 21)]
RunEvent.objects.bulk_create([RunEvent(run=run, seq=step, kind="metrics", time=now, step=step, body=body) for step, body in enumerate(bodies, 1)])
print(run.pk)
"""


@pytest.fixture(scope="module")
def real(model_server: ServedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("studio")
    with running(folder, model_server.url, key=model_server.key, served=model_server.name) as stack:
        url = urlsplit(stack.env["DATABASE_URL"])
        where = url.netloc.rpartition("@")[2]
        role = urlunsplit(url._replace(netloc=f"longhand_e2e_worker:secret@{where}"))
        stack.run(
            "from django.db import transaction\nfrom workers.role import ensure_worker_role\n"
            f"with transaction.atomic(): ensure_worker_role({role!r})"
        )
        celery = [
            "-m",
            "celery",
            "-q",
            "-A",
            "webapp",
            "worker",
            "-c",
            "2",
            "--pool",
            "threads",
        ]
        worker = Process([*celery, "-Q", "default", "-n", "w@%h"], stack.env, folder / "worker.log")
        trainer = Process(
            [*celery, "-Q", "gpu", "-n", "t@%h"], stack.env | {"DATABASE_URL": role}, folder / "trainer.log"
        )
        try:
            yield stack
        finally:
            trainer.stop()
            worker.stop()
            stack.run(
                "from workers.folders import run_folder\nfrom workers.processes import kill\n"
                "from writer.studio.models import Run\n[kill(run_folder(run)) for run in Run.objects.all()]"
            )


@pytest.fixture(scope="module")
def window(chrome: Browser, real: Stack) -> Iterator[Callable[[str], Page]]:
    contexts: dict[str, BrowserContext] = {}

    def of(role: str) -> Page:
        if role not in contexts:
            contexts[role] = chrome.new_context(viewport={"width": 1200, "height": 900})
            sign_in(contexts[role].new_page(), real, real.accounts[role])
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


def test_the_circle(window: Callable[[str], Page], real: Stack, record_property: Callable[[str, object], None]) -> None:
    """How long it takes is measured by `make bench-studio`, alone on a machine; here it only has to come to its end."""
    began = time.monotonic()
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
    check(admin, "studio-empty", "light")
    admin.get_by_role("button", name="Retrain from the newest judgement").click()
    admin.wait_for_url("**/studio/runs/*")
    expect(admin.locator("#state")).to_have_text("Running", timeout=200_000)
    expect(admin.locator("#curves canvas").first).to_be_visible(timeout=200_000)
    check(admin, "run-running", "light")
    version = admin.get_by_role("link", name=re.compile("demo model, dpo"))
    expect(version).to_be_visible(timeout=400_000)
    expect(admin.locator("#state")).to_have_text("Finished")
    expect(admin.locator("#log")).to_contain_text("The model is in")
    check(admin, "run-finished", "light")
    assert axe(admin) == []
    version.first.click()
    name = admin.locator("h1").inner_text()

    until(admin, lambda: admin.get_by_role("heading", name="Words got of words asked").count() == 1, 600, "no report")
    check(admin, "version-report", "light")
    expect(admin.get_by_text("Edgar Editor")).to_be_visible()
    assert axe(admin) == []
    admin.get_by_role("link", name="Open an arena").click()
    admin.get_by_label("Pairs at most").fill("10")
    admin.get_by_label("Words a story").fill("200")
    admin.get_by_role("button", name="See what the rule does").click()
    expect(admin.get_by_role("row", name=re.compile("0.80 of pairs"))).to_be_visible()
    check(admin, "arena-new", "light")
    admin.get_by_role("button", name="Open it").click()
    admin.wait_for_url("**/studio/arenas/*")
    arena = admin.url.rpartition("/")[2]
    until(admin, lambda: admin.get_by_text("10 are written").count() == 1, 400, "the stories were not written")

    editor = window("editor")
    for _ in range(7):
        vote_for_the_candidate(editor, real, arena)
    until(admin, lambda: admin.get_by_text("The candidate is better").count() == 1, 30, "it was not decided")
    check(admin, "arena-decided", "light")
    assert axe(admin) == []

    admin.get_by_role("link", name=name).first.click()
    admin.get_by_role("button", name="Promote").click()
    confirm(admin, real.accounts["admin"])
    until(admin, lambda: admin.locator("p.facts .state-running").count() == 1, 120, "it was not put in service")
    story = real.new_story(200, title="The new lamp")
    real.wait_state(story, "done", 240)
    writer = window("writer")
    writer.goto(f"{real.url}/stories/{story}")
    expect(writer.get_by_text(f"Written by the {name}, temperature 0.8, min-p 0.05.")).to_be_visible()

    admin.goto(f"{real.url}/studio/")
    check(admin, "studio", "light")
    admin.get_by_role("button", name="Roll back to demo model").click()
    confirm(admin, real.accounts["admin"])
    until(admin, lambda: admin.get_by_text("demo model writes the stories").count() == 1, 60, "it was not rolled back")
    admin.goto(f"{real.url}/studio/ledger")
    expect(admin.get_by_role("row")).to_have_count(4)
    check(admin, "ledger", "light")
    admin.goto(f"{real.url}/studio/audit")
    for act in ("run.ask", "arena.open", "version.promote", "version.rollback"):
        expect(admin.get_by_role("cell", name=act, exact=True)).to_be_visible()
    check(admin, "audit", "light")
    record_property("circle_s", time.monotonic() - began)
    other_pages(admin, real)
    second_factor(admin, real)


def other_pages(admin: Page, real: Stack) -> None:
    """After the circle, so that there is something to see; in both lights, and on a telephone."""
    stage = real.run(STAGE).strip()
    grpo = real.run(GRPO).strip()
    for name, path in (
        ("run-new", "runs/new/dpo"), ("versions", "versions/"), ("version", "versions/2"), ("references", "references"),
        ("from-editor", "from/editor/2"), ("run", "runs/1"), ("arena", "arenas/1"), ("runs", "runs/"), ("overview", ""),
        ("files", "datasets"), ("stage", f"runs/{stage}"), ("stage-new", "runs/new/violations"), ("stage-tasks", "runs/new/backtranslate"),
        ("grpo", f"runs/{grpo}"), ("grpo-new", "runs/new/grpo"),
    ):  # fmt: skip
        for look, width in (("light", 1200), ("dark", 1200), ("phone", 390)):
            admin.set_viewport_size({"width": width, "height": 900})
            admin.emulate_media(color_scheme="dark" if look == "dark" else "light")
            answer = admin.goto(f"{real.url}/studio/{path}")
            assert answer is not None
            assert answer.status == 200, path
            check(admin, f"studio-{name}", look)


def second_factor(admin: Page, real: Stack) -> None:
    """The pages of allauth, in the site's look."""
    for name, path in (("factors", ""), ("totp", "totp/activate/")):
        admin.goto(f"{real.url}/account/2fa/{path}")
        confirm(admin, real.accounts["admin"])
        check(admin, f"mfa-{name}", "light")


def vote_for_the_candidate(editor: Page, real: Stack, arena: str) -> None:
    editor.goto(f"{real.url}/desk/")
    editor.get_by_role("button", name=re.compile("pair", re.IGNORECASE)).first.click()
    editor.wait_for_url("**/desk/pairs/*")
    reading = editor.url.rpartition("/")[2]
    on_the_left = json.loads(real.run(TURN.format(reading=reading, arena=arena)))
    editor.keyboard.press("1" if on_the_left else "5")
    editor.keyboard.press("Enter")
    editor.wait_for_url(lambda url: reading not in url or url.endswith("/result"))
