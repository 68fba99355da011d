"""Texts by people: imported completely or not at all, compared with versions, and never used for training."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from pytest_django import Settings

from tests.cast import PASSWORD
from tests.writer.editorial.test_acts import do, marked
from tests.writer.editorial.test_snapshots import ANY, made, voted
from tests.writer.studio.test_arena import file_of, finish, line, write_all
from workers.jobs.arenas import advance
from writer.accounts.models import AuditEvent, User
from writer.editorial.models import Asking, Brief, Pair, PrincipleVersion, Snapshot, SnapshotRow, Take
from writer.editorial.operations.ask_pair import ask_pairs, collect_askings
from writer.editorial.operations.freeze import brief_of, open_story, take_of
from writer.editorial.operations.import_preferences import import_preferences
from writer.editorial.operations.next_pair import next_pair
from writer.editorial.operations.share import share
from writer.editorial.snapshots.build import build
from writer.editorial.snapshots.importing import Preference
from writer.editorial.snapshots.query import SnapshotQuery
from writer.refusals import Missing, NotNow, Refused
from writer.stories.models import TEXT_CHARS, ModelVersion
from writer.stories.operations.create_story import create_story
from writer.studio.held_out import is_held_out
from writer.studio.models import Arena, Reference, Run
from writer.studio.operations import import_references as operation
from writer.studio.operations.import_references import delete_reference, import_references
from writer.studio.operations.open_arena import open_arena, pairs_of

pytestmark = pytest.mark.django_db


def brought_in(by: User, *lines: Any) -> list[Reference]:
    import_references(by=by, file=file_of(*lines))
    return list(Reference.objects.order_by("pk"))


def test_a_text_becomes_a_brief_a_take_and_a_reference(admin: User) -> None:
    two = line(2, words=1234, source=None, text=line(2, words=1234)["text"].replace("\n", "\r\n"))
    one, other = brought_in(admin, line(), b"", two)
    assert (one.author, one.source, one.by) == ("Anton Chekhov", "Stories, 1889", admin)
    assert other.source == ""
    assert (one.take.text, one.take.model, one.take.words_by) == (line()["text"], None, {})
    assert "\r" not in other.take.text
    brief = other.take.brief
    assert (brief.story, brief.title, brief.premise, brief.given) == (None, "The Mill 2", "A miller.", "")
    assert brief.target_words == other.take.words == 1234
    event = AuditEvent.objects.get(act="reference.import")
    assert (event.by, event.details) == (admin, {"number": 2})


def test_the_same_text_twice_is_one_reference(admin: User) -> None:
    again = line(text="\n\n" + line()["text"] + "\n", title="Another title")
    assert import_references(by=admin, file=file_of(line(), again)) == 1
    assert import_references(by=admin, file=file_of(again, line(2))) == 1
    assert [one.take.brief.title for one in Reference.objects.order_by("pk")] == ["The Mill 1", "The Mill 2"]
    assert Brief.objects.count() == Take.objects.count() == 2


def test_two_admins_bring_in_the_same_file(
    admin: User, make_editor: Callable[[], User], transactional_db: None
) -> None:
    def bring(by: User) -> int:
        try:
            return import_references(by=by, file=file_of(*map(line, range(20))))
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(bring, (admin, make_editor()))) == [0, 20]
    assert Reference.objects.count() == 20


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (b"{", "This is not JSON"),
        (b"[" * 100_000, "This is not JSON"),
        (b"\xff\xfe", "This is not JSON"),
        (b"[1]", "not an object"),
        (line(title=3), "The title is not a text"),
        (line(source=["a"]), "The source is not a text"),
        (line(title=" "), "Please write a title"),
        (line(title="x" * 201), "201 characters; the limit is 200"),
        (line(premise=None), "Please write a premise"),
        (line(author=""), "Please write a name of the author"),
        (line(source="x" * 501), "the limit is 500"),
        (line(text=" \n\n "), "Please write a text"),
        (line(text="x" * (TEXT_CHARS + 1)), "the limit is 1,000,000"),
        (line(text=line()["text"] + "\0"), "control character"),
        (json.dumps(line()).replace("stood.", "\\ud800").encode(), "half of a character"),
        (line(words=199), "200 to 20,000 words"),
        (line(words=20_001), "200 to 20,000 words"),
    ],
)
def test_one_bad_line_and_nothing_is_stored(admin: User, bad: Any, told: str) -> None:
    with pytest.raises(Refused, match=f"^Line 4: .*{told}") as refusal:
        import_references(by=admin, file=file_of(line(5), line(6), b"  ", bad, b"}"))
    assert refusal.value.field == "file"
    assert not Reference.objects.exists()
    assert not Brief.objects.exists()
    assert not AuditEvent.objects.exists()


def test_bounds_of_the_file(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="no lines"):
        import_references(by=admin, file=file_of(b" ", b""))
    monkeypatch.setattr(operation, "MOST_LINES", 2)
    assert import_references(by=admin, file=file_of(line(1), line(2))) == 2
    with pytest.raises(Refused, match="more than 2 lines"):
        import_references(by=admin, file=file_of(line(3), line(4), line(5)))
    monkeypatch.setattr(operation, "FILE_BYTES", 1000)
    with pytest.raises(Refused, match="more than 1,000 bytes"):
        import_references(by=admin, file=file_of(line()))


# Held out


def learned(
    title: str, model: ModelVersion, *, held_out: bool, text: str = "The lamp was lit.", run: bool = True
) -> None:
    """A run's snapshot with a row on a brief of this title; the length asked decides whether the brief is held out."""
    target = 300
    while is_held_out((brief := brief_of(None, title=title, premise="A miller.", target=target)).sha256) != held_out:
        target += 1
    number = Snapshot.objects.count() + 1
    snapshot = Snapshot.objects.create(number=number, kind="preference", query={}, described="", state="ready")
    takes = {"chosen": take_of(brief, text), "rejected": take_of(brief, "No lamp.")}
    SnapshotRow.objects.create(snapshot=snapshot, index=0, sha256="0" * 64, brief=brief, origin={}, **takes)
    if run:
        Run.objects.create(recipe="dpo", settings={}, base=model, snapshot=snapshot)


def test_what_a_run_learned_from_is_not_held_out(admin: User, model: ModelVersion) -> None:
    learned("The Mill 1", model, held_out=False, run=False)
    learned("The Mill 2", model, held_out=True)
    learned("The Mill 3", model, held_out=False)
    assert import_references(by=admin, file=file_of(line(1), line(2), line(3, premise="Another."))) == 3
    with pytest.raises(Refused, match=r"^Line 2: a run has this brief"):
        import_references(by=admin, file=file_of(line(4), line(3, words=500)))
    learned("The Lamp", model, held_out=False, text=line(9)["text"])
    with pytest.raises(Refused, match=r"^Line 1: a run has this brief or this text"):
        import_references(by=admin, file=file_of(line(9)))
    assert Reference.objects.count() == 3


@pytest.fixture
def arena(candidate: ModelVersion, admin: User) -> Arena:
    """With four references, written and open to editors."""
    brought_in(admin, *map(line, range(4)))
    opened = open_arena(by=admin, candidate=candidate.pk, prompts=4, words=300, people=True)
    write_all(opened)
    advance()
    return opened


def test_no_operation_makes_a_row_of_a_reference(
    arena: Arena, admin: User, editor: User, owner: User, model: ModelVersion, version: PrincipleVersion
) -> None:
    """Votes on its pairs; and the same words as a story on offer, as an imported preference, and as a pair that was asked for."""
    text = line(0)["text"]
    while (reading := next_pair(by=editor)) is not None:
        do(editor, kind="vote", reading=reading.pk, preference=1)
    story = create_story(owner=owner, title="The Mill 0", premise="A miller.", target_words=300, text=text)
    for consent in ("reading", "training"):
        share(by=owner, story_id=story.pk, consent=consent, given=True)
    marked(admin, open_story(by=admin, story_id=story.pk), version, "Mill 0", better="The mill")
    prompt = Reference.objects.get(take__brief__title="The Mill 0").take.brief.messages
    import_preferences(by=admin, preferences=[Preference(prompt, text, "No mill.")])
    ask_pairs(by=admin, title="The Mill 0", premise="A miller.", target_words=300, versions=(model.pk, model.pk))
    asking = Asking.objects.get()
    for generation, wrote in ((asking.first, text), (asking.second, "No wheel.")):
        assert generation is not None
        finish(generation, wrote)
    collect_askings()
    voted(Pair.objects.get(asking=asking), editor, -1)

    everything = ANY.model_copy(update={"choices": True, "imported": True})
    assert build(everything).sources == {"votes": 1, "mended": 1, "imported": 1}, "the same words of another origin are"
    taken = {pk for row in build(everything).rows for pk in (row.chosen, row.rejected)}
    assert not taken & set(Reference.objects.values_list("take", flat=True))
    prompts = made(SnapshotQuery(kind="prompts"), admin)
    assert not SnapshotRow.objects.filter(snapshot=prompts).exclude(chosen=None).exists()


def test_a_mark_on_a_reference_is_no_row(arena: Arena, editor: User, version: PrincipleVersion) -> None:
    while (reading := next_pair(by=editor)) is not None:
        do(editor, kind="vote", reading=reading.pk, preference=1)
    reference = Reference.objects.get(take__brief__title="The Mill 0")
    marked(editor, reference.take, version, "Mill 0", better="The mill")
    assert build(ANY).rows == []


# Taken out


def test_deleted_with_its_words_while_no_arena_has_used_it(admin: User, arena: Arena) -> None:
    used = Reference.objects.all()[0]
    with pytest.raises(NotNow, match="An arena has used"):
        delete_reference(by=admin, reference_id=used.pk)
    import_references(by=admin, file=file_of(line(7, title="Mistyped")))
    unused = Reference.objects.get(take__brief__title="Mistyped")
    delete_reference(by=admin, reference_id=unused.pk)
    assert Reference.objects.count() == 4
    assert not Brief.objects.filter(title="Mistyped").exists()
    assert not Take.objects.filter(pk=unused.take_id).exists()
    assert AuditEvent.objects.get(act="reference.delete").about == "Mistyped by Anton Chekhov"
    with pytest.raises(Missing):
        delete_reference(by=admin, reference_id=unused.pk)
    assert import_references(by=admin, file=file_of(line(7))) == 1, "and it can be brought in again, mended"


# Pages


def upload(*lines: Any) -> dict[str, SimpleUploadedFile]:
    return {"file": SimpleUploadedFile("references.jsonl", file_of(*lines).read())}


def test_the_page(admin: User, sign_in: Callable[..., Client]) -> None:
    client = sign_in(admin)
    assert "There are none yet" in client.get("/studio/references").content.decode()
    assert client.post("/studio/references", upload(*map(line, range(51)))).status_code == 302
    page = client.get("/studio/references").content.decode()
    assert "Imported: 51 new" in page
    assert "The Mill 50" in page
    assert "Anton Chekhov" in page
    assert ">The Mill 0<" not in page, "the newest come first, 50 on a page"
    assert ">The Mill 0<" in client.get("/studio/references?page=2").content.decode()


def test_what_the_page_refuses(admin: User, editor: User, sign_in: Callable[..., Client]) -> None:
    client = sign_in(admin)
    response = client.post("/studio/references")
    assert (response.status_code, b"Choose a file first." in response.content) == (422, True)
    response = client.post("/studio/references", upload(line(1), line(2, author="")))
    assert (response.status_code, b"Line 2: Please write a name of the author." in response.content) == (422, True)
    assert sign_in(editor).post("/studio/references", upload(line())).status_code == 404
    assert not Reference.objects.exists()


def test_deleting_asks_again_who_it_is(admin: User, sign_in: Callable[..., Client], settings: Settings) -> None:
    settings.DEBUG = True
    (reference,) = brought_in(admin, line())
    client = sign_in(admin)
    asked = client.post(f"/studio/references/{reference.pk}/delete").headers["Location"]
    assert asked.startswith("/account/reauthenticate/")
    assert Reference.objects.exists()
    assert client.post(asked, {"password": PASSWORD}).headers["Location"] == "/studio/references"
    assert not Reference.objects.exists()


def test_the_form_of_an_arena_counts_them(admin: User, candidate: ModelVersion, sign_in: Callable[..., Client]) -> None:
    client, path = sign_in(admin), f"/studio/versions/{candidate.pk}/arena"
    assert "There are no texts by people yet." in client.get(path).content.decode()
    form = {"prompts": "4", "words": "300", "confidence": "0.95", "share": "0.5", "people": "yes"}
    refused = client.post(path, form)
    assert refused.status_code == 409
    assert "There are no references by people yet. Import some, or leave people out." in refused.content.decode()
    assert not Arena.objects.exists()
    brought_in(admin, line())
    page = client.get(path).content.decode()
    assert "There is 1 text by people." in page
    assert 'href="/studio/references"' in page
    assert client.post(path, form).status_code == 302
    assert pairs_of(Arena.objects.get()).count() == 0
