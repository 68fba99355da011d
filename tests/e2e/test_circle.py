"""The editors' desk from end to end: a pair is requested, written, voted on, and becomes a row of a data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browser import WATCH, Desk, confirm
from tests.e2e.stack import Process, Stack
from tests.e2e.test_pages import LOOKS, axe, check
from tests.upstream.process import Upstream

MARK = """
from uuid import uuid4
from writer.accounts.models import User
from writer.editorial.acts import MarkAct
from writer.editorial.constitution import record_of
from writer.editorial.models import Principle, Take
from writer.editorial.operations.act import act
from writer.editorial.operations.save_principle import save_principle
editor = User.objects.get(email="editor@longhand.test")
principle = Principle.objects.select_related("current__principle").filter(state="in_force")[0]
take = Take.objects.get(pk={take})
act(by=editor, op_id=uuid4().hex, asked=MarkAct(kind="mark", id=uuid4(), take=take.pk, start=0, end=len({quote!r}), quote={quote!r},
    version=principle.current_id, note="Which one?", better="The keeper"))
record = record_of(principle.current)
record = record.model_copy(update={{"explanation": record.explanation + " " + "And never twice."}})
save_principle(by=editor, record=record, base=principle.current.number, meaning_changed=True, why="It was too narrow.")
"""
TEXT = "Old Marten kept the lamp. Nobody came up the stairs that winter, and he wrote that down.\n\nIn spring a letter came."


@pytest.fixture
def worker(stack: Stack, tmp_path: Path) -> Iterator[Process]:
    """The Celery worker of this stack."""
    arguments = ["-m", "celery", "-q", "-A", "webapp", "worker", "-Q", "default", "--pool", "solo"]
    started = Process(arguments, stack.env, tmp_path / "worker.log")
    yield started
    started.stop()


@pytest.fixture
def visit(chrome: Browser, stack: Stack, sessions: Callable[[str], Path]) -> Iterator[Callable[..., Page]]:
    contexts = []

    def go(path: str, role: str, look: str = "light") -> Page:
        context = chrome.new_context(**LOOKS[look], storage_state=sessions(role), accept_downloads=True)
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(WATCH)
        page.set_default_timeout(20_000)
        page.goto(stack.url + path)
        return page

    yield go
    for context in contexts:
        context.close()


def offered(stack: Stack, text: str = TEXT) -> int:
    """A story that its writer offers, and lets be used: the take that an editor opened."""
    story_id = str(stack.api("POST", "/stories", {
        "title": "The keeper", "premise": "He counts the waves.", "target_words": 300, "text": text, "start": False,
    })["id"])  # fmt: skip
    for consent in ("reading", "training"):
        stack.api("PUT", f"/stories/{story_id}/sharing", {"consent": consent, "given": True})
    return int(stack.api("POST", f"/offered/{story_id}", role="editor")["id"])


def test_from_asking_to_a_row(visit: Callable[..., Page], stack: Stack, upstream: Upstream, worker: Process) -> None:
    upstream.script(rate=400)
    page = visit("/desk/ask", "editor")
    page.get_by_label("Title").fill("The second light")
    page.get_by_label("Premise").fill("A keeper counts the waves.")
    page.get_by_label("Words").fill("200")
    page.get_by_label("Editors for each").fill("1")
    page.get_by_role("button", name="Generate pairs").click()
    expect(page.get_by_text("One pair is being written")).to_be_visible()
    for _ in range(100):
        page.goto(f"{stack.url}/desk/ask")
        if page.get_by_text("0 of 1 votes").count() or page.locator(".state-failed").count():
            break
        page.wait_for_timeout(200)
    # The scripted model writes the same words whatever it is asked, so there is nothing to compare; and that is said.
    expect(page.get_by_text("Both takes are the same text.")).to_be_visible()

    stack.run(
        "from writer.editorial.models import Pair, Reading\n"
        "from writer.editorial.operations.freeze import brief_of, take_of\n"
        "Pair.objects.update(wanted=False)\nReading.objects.filter(state='open').delete()\n"
        "brief = brief_of(None, title='The lamp', premise='It is lit.', target=300)\n"
        "first, second = take_of(brief, 'The lamp was lit at six.'), take_of(brief, 'There was light.')\n"
        "Pair.objects.create(brief=brief, first=first, second=second, source='asked', overlap=1)"
    )
    reading = stack.api("POST", "/readings", role="editor")
    better = -1 if reading["left"].startswith("The lamp") else 1
    stack.api("PUT", "/acts/circle", {"kind": "vote", "reading": reading["id"], "preference": better}, role="editor")

    page = visit("/snapshots/", "admin")
    page.get_by_label("Votes a pair needs").fill("1")
    page.get_by_label("Share that a voter had read").fill("0")
    page.get_by_role("button", name="Make a snapshot").click()
    page.wait_for_url("**/snapshots/*")
    for _ in range(100):
        if page.get_by_text("SHA-256").count():
            break
        page.wait_for_timeout(200)
        page.reload()
    expect(page.get_by_text("SHA-256")).to_be_visible()
    page.get_by_role("link", name="Export the files").click()
    confirm(page, stack.accounts["admin"])
    with page.expect_download() as download:
        page.get_by_role("link", name="train.jsonl").click()
    rows = [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]
    assert ["The lamp was lit at six."] in [[message["content"] for message in row["chosen"]] for row in rows]
    assert axe(page) == []


def test_a_file_that_cannot_be_imported_is_told(visit: Callable[..., Page], tmp_path: Path) -> None:
    page = visit("/snapshots/", "admin")
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "x", "chosen": "y", "rejected": "z"}\n{"prompt": "x", "chosen": "y"}\n')
    page.locator("input[type=file]").set_input_files(bad)
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_text("Row 2: there is no rejected.")).to_be_visible()


def test_another_take_is_asked_for_compared_and_kept(desk: Desk, stack: Stack, upstream: Upstream) -> None:
    upstream.script(rate=400)
    story_id = stack.new_story(200)
    stack.wait_state(story_id, "done")
    desk.open(story_id)
    desk.page.get_by_text("More", exact=True).click()
    desk.page.get_by_role("link", name="Takes").click()
    desk.page.get_by_role("button", name="Ask for another take").click()
    desk.page.wait_for_url("**/stories/*")
    stack.wait_state(story_id, "done")
    desk.page.goto(f"{stack.url}/stories/{story_id}/takes")
    keep = desk.page.get_by_role("button", name="Keep this one")
    expect(keep).to_have_count(2)
    keep.first.click()
    expect(desk.page.get_by_text("This take is the text of the story now.")).to_be_visible()
    desk.no_complaints()


@pytest.mark.parametrize("look", LOOKS)
def test_pictures(visit: Callable[..., Page], stack: Stack, upstream: Upstream, look: str) -> None:
    """Of every page of the editors' room that is made on the server."""
    upstream.script(rate=400)
    take = offered(stack)
    stack.run(MARK.format(take=take, quote="Old Marten"))
    written = stack.new_story(200)
    stack.wait_state(written, "done")
    check(visit("/desk/ask", "editor", look), "ask", look)
    check(visit("/desk/again", "editor", look), "again", look)
    check(visit("/desk/agreement", "admin", look), "agreement", look)
    check(visit("/snapshots/", "admin", look), "snapshots", look)
    check(visit(f"/stories/{written}/takes", "writer", look), "takes", look)
    page = visit("/desk/again", "editor", look)
    page.get_by_role("button", name="It still holds").first.click()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("button", name="It still holds").first).to_be_visible()
