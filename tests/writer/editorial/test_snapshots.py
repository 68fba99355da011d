"""Snapshots: their rows and omissions, that they never change, and that exported files can be imported again."""

from __future__ import annotations

import io
import json
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.db import IntegrityError, connection, transaction
from django.db.utils import InternalError
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.cast import PRINCIPLE, TEXTS
from tests.writer.editorial.test_acts import do, marked
from writer.accounts.models import User
from writer.editorial.messages import digest, row_digest
from writer.editorial.models import (
    Mark,
    Pair,
    PrincipleVersion,
    Reading,
    Sharing,
    Snapshot,
    SnapshotRow,
    Take,
    Vote,
)
from writer.editorial.operations.freeze import brief_of, take_of
from writer.editorial.operations.import_preferences import import_preferences
from writer.editorial.operations.make_snapshot import ask_snapshot, make_snapshot
from writer.editorial.operations.save_principle import save_principle
from writer.editorial.operations.share import no_consent_changes, share
from writer.editorial.snapshots.build import Built, Row, _capped, build
from writer.editorial.snapshots.formats import written
from writer.editorial.snapshots.importing import read_preferences
from writer.editorial.snapshots.query import SnapshotQuery, checked_query
from writer.refusals import Refused
from writer.stories.models import Story
from writer.stories.operations.delete_story import delete_story

pytestmark = pytest.mark.django_db
ANY = SnapshotQuery(least_votes=1, least_agreement=0.5, least_read=0)


def voted(pair: Pair, by: User, preference: int, **fields: Any) -> Vote:
    fields = {"read_first": 1.0, "read_second": 1.0, "source": "editor"} | fields
    return Vote.objects.create(pair=pair, by=by, preference=preference, **fields)


def made(query: SnapshotQuery, by: User) -> Snapshot:
    snapshot = make_snapshot(snapshot_id=ask_snapshot(by=by, query=query).pk)
    assert snapshot is not None
    return snapshot


def lines(snapshot: Snapshot, name: str = "train.jsonl") -> list[dict[str, Any]]:
    with written(snapshot, name) as file:
        return [json.loads(line) for line in file]


def some_pair(title: str, source: str = "asked") -> Pair:
    brief = brief_of(None, title=title, premise="A keeper alone.", target=600)
    first, second = (take_of(brief, f"{title}. {text}") for text in TEXTS)
    return Pair.objects.create(brief=brief, first=first, second=second, source=source)


def test_a_pair_is_a_row(pair: Pair, editor: User, admin: User, make_editor: Callable[[], User]) -> None:
    for person, preference in ((editor, 2), (admin, 1), (make_editor(), -1)):
        voted(pair, person, preference)
    built = build(SnapshotQuery())
    row = built.rows[0]
    assert (row.chosen, row.rejected) == (pair.second_id, pair.first_id)
    assert row.label == pytest.approx(2 / 3, abs=1e-4)
    assert row.by == {person.pk: pytest.approx(1 / 3) for person in User.objects.filter(role__in=("editor", "admin"))}
    assert [vote["value"] for vote in row.origin["votes"]] == [2, 1, -1]
    assert build(SnapshotQuery(least_agreement=0.7)).left_out["pairs that editors disagree about"] == 1
    assert build(SnapshotQuery(least_votes=4)).left_out["pairs with too few votes"] == 1


@pytest.mark.parametrize(
    ("votes", "reason"),
    [
        ([(1, {}), (-1, {})], "pairs that end in a tie"),
        ([(0, {}), (0, {})], "pairs that end in a tie"),
        ([(1, {"read_first": 0.4}), (1, {"read_second": 0.4})], "votes by somebody who had read too little"),
        ([(1, {})], "pairs with too few votes"),
        ([(1, {"undone": datetime(2026, 1, 1, tzinfo=UTC)}), (1, {})], "pairs with too few votes"),
    ],
)
def test_what_is_no_preference(
    pair: Pair, editor: User, admin: User, votes: list[tuple[int, dict[str, Any]]], reason: str
) -> None:
    for person, (preference, fields) in zip((editor, admin), votes):
        voted(pair, person, preference, **fields)
    built = build(SnapshotQuery())
    assert built.rows == []
    assert built.left_out[reason] > 0


def test_a_gold_pair_teaches_nothing(pair: Pair, editor: User) -> None:
    voted(pair, editor, 1)
    assert build(ANY).rows
    Pair.objects.update(gold=1)
    assert build(ANY).rows == []


@pytest.mark.parametrize(("why", "label"), [("overlooked", 1.0), ("taste", 0.5)])
def test_what_was_settled_counts(pair: Pair, editor: User, admin: User, why: str, label: float) -> None:
    voted(pair, editor, 1)
    voted(pair, admin, -1)
    settled = pair.settlements.create(by=admin, preference=-2, why=why, words="The end is earned.")
    row = build(SnapshotQuery()).rows[0]
    assert (row.chosen, row.label) == (pair.first_id, label)
    assert row.origin["settled"] == {"editor": admin.pk, "why": why}
    settled.preference = 0
    settled.save()
    assert build(SnapshotQuery()).left_out["pairs that were settled as a tie"] == 1


def test_what_is_stale_waits(
    reading: Reading, editor: User, admin: User, version: PrincipleVersion, take: Take
) -> None:
    do(editor, kind="vote", reading=reading.pk, preference=1, principles=[version.pk])
    marked(editor, take, version, better="a tin of buttons")
    assert take.brief.story_id is not None
    owner = take.brief.story.owner if take.brief.story else None
    assert owner is not None
    share(by=owner, story_id=take.brief.story_id, consent="training", given=True)
    assert build(ANY).sources == {"votes": 1, "mended": 1}
    assert [row.origin["principles"] for row in build(ANY).rows if row.passage] == [[["particular-thing", 1]]]
    record = PRINCIPLE.model_copy(update={"explanation": "Another thing."})
    save_principle(by=admin, record=record, base=1, meaning_changed=True, why="It was unclear.")
    built = build(ANY)
    assert built.rows == []
    assert built.left_out["votes under an older meaning of a principle"] == 1
    assert built.left_out["mended passages under an older meaning of a principle"] == 1


@pytest.fixture
def mended(take: Take, editor: User, owner: User, version: PrincipleVersion) -> Take:
    """A mended passage in a story that its writer lets be used."""
    marked(editor, take, version, better="a tin of buttons", note="Which?")
    assert take.brief.story_id
    share(by=owner, story_id=take.brief.story_id, consent="training", given=True)
    return take


def test_a_mended_passage_is_a_row(mended: Take, admin: User) -> None:
    (line,) = lines(made(ANY, admin))
    assert line["chosen"] == [
        {"role": "assistant", "content": "He thought of a tin of buttons. 🌊 They moved him deeply."}
    ]
    assert line["rejected"] == [{"role": "assistant", "content": "He thought of mementos. 🌊 They moved him deeply."}]
    roles = [message["role"] for message in line["prompt"]]
    assert roles == ["user", "assistant", "user"]
    assert line["prompt"][1]["content"] == "The keeper was sad."


def test_the_first_passage_has_nothing_before_it(take: Take, editor: User, owner: User, admin: User, version: PrincipleVersion) -> None:  # fmt: skip
    marked(editor, take, version, "The keeper was sad.", better="The keeper left the lamp dark.")
    assert take.brief.story_id
    share(by=owner, story_id=take.brief.story_id, consent="training", given=True)
    (line,) = lines(made(ANY, admin))
    assert [message["role"] for message in line["prompt"]] == ["user"]
    assert line["chosen"][0]["content"] == "The keeper left the lamp dark."


def test_without_consent_nothing_goes_in(take: Take, editor: User, version: PrincipleVersion) -> None:
    marked(editor, take, version, better="a tin of buttons")
    built = build(ANY)
    assert built.rows == []
    assert built.left_out["mended passages of stories without consent"] == 1
    assert build(SnapshotQuery(kind="prompts")).left_out["prompts of stories without consent"] == 1
    snapshot = Snapshot.objects.create(number=1, kind="preference", query={}, described="")
    with pytest.raises(IntegrityError, match="without consent"), transaction.atomic():
        SnapshotRow.objects.create(snapshot=snapshot, index=0, sha256="", brief=take.brief, origin={})


def test_consent_taken_back_leaves_a_tombstone(mended: Take, owner: User, admin: User) -> None:
    snapshot = made(ANY, admin)
    assert mended.brief.story_id
    share(by=owner, story_id=mended.brief.story_id, consent="training", given=False)
    row = SnapshotRow.objects.get()
    assert (row.gone is not None, row.passage, row.sha256 != "") == (True, None, True)
    assert lines(snapshot) == []
    (origin,) = lines(snapshot, "origin.jsonl")
    assert (origin["line"], origin["sha256"]) == (None, row.sha256)
    assert build(ANY).rows == []
    share(by=owner, story_id=mended.brief.story_id, consent="training", given=True)
    assert lines(snapshot) == [], "given again, it counts for new snapshots only"
    assert len(build(ANY).rows) == 1


def test_consent_taken_back_while_a_snapshot_is_made(
    mended: Take, owner: User, admin: User, pair: Pair, editor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    voted(pair, editor, 1)
    story_id = mended.brief.story_id
    assert story_id

    def slowly(query: SnapshotQuery) -> Built:
        built = build(query)
        share(by=owner, story_id=story_id, consent="training", given=False)
        return built

    monkeypatch.setattr("writer.editorial.operations.make_snapshot.build", slowly)
    snapshot = made(ANY, admin)
    assert snapshot.counts["sources"] == {"votes": 1}
    assert snapshot.counts["left_out"]["rows whose writers took consent back meanwhile"] == 1


@pytest.mark.django_db(transaction=True)
def test_consent_waits_while_rows_are_stored(owner: User, story: Story) -> None:
    share(by=owner, story_id=story.pk, consent="training", given=True)

    def take_back() -> None:
        try:
            share(by=owner, story_id=story.pk, consent="training", given=False)
        finally:
            connection.close()

    thread = threading.Thread(target=take_back)
    with transaction.atomic():
        no_consent_changes()
        thread.start()
        thread.join(0.5)
        assert thread.is_alive(), "it waits for the rows, so that it finds them"
    thread.join(10)
    assert not Sharing.objects.get().training


def test_a_story_that_is_deleted_meanwhile_costs_another_try(
    mended: Take, owner: User, admin: User, pair: Pair, editor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    voted(pair, editor, 1)
    tries = []

    def broken(query: SnapshotQuery) -> Built:
        tries.append(query)
        if len(tries) == 1:
            raise IntegrityError
        return build(query)

    monkeypatch.setattr("writer.editorial.operations.make_snapshot.build", broken)
    assert made(ANY, admin).rows == 2
    assert len(tries) == 2


def test_a_settled_pair_counts_though_its_voters_had_read_little(pair: Pair, editor: User, admin: User) -> None:
    voted(pair, editor, 1, read_first=0.1)
    pair.settlements.create(by=admin, preference=-2, why="overlooked", words="The end is earned.")
    row = build(SnapshotQuery()).rows[0]
    assert (row.chosen, row.label, row.origin["votes"]) == (pair.first_id, 1.0, [])
    assert build(SnapshotQuery(editors=(editor.pk,))).rows == [], "the one who settled it was not asked for"


def test_a_deleted_story_leaves_a_tombstone(mended: Take, owner: User, admin: User) -> None:
    snapshot = made(ANY, admin)
    hashed = SnapshotRow.objects.get().sha256
    assert mended.brief.story_id
    delete_story(user=owner, story_id=mended.brief.story_id)
    row = SnapshotRow.objects.get()
    assert (row.brief, row.chosen, row.passage, row.sha256) == (None, None, None, hashed)
    assert row.gone
    assert not Take.objects.filter(pk=mended.pk).exists()
    assert lines(snapshot) == []
    assert row_digest(hashed) == snapshot.sha256, "the snapshot can still be checked"


def test_a_snapshot_never_changes(mended: Take, editor: User, admin: User) -> None:
    snapshot = made(ANY, admin)
    before = lines(snapshot)
    Mark.objects.update(better="something else", removed=datetime(2026, 1, 1, tzinfo=UTC))
    assert lines(snapshot) == before
    for statement in (
        "UPDATE editorial_snapshotrow SET sha256 = 'x'",
        "UPDATE editorial_snapshotrow SET label = 0",
        "UPDATE editorial_snapshot SET sha256 = 'x'",
        "UPDATE editorial_take SET text = 'x'",
        "UPDATE editorial_brief SET premise = 'x'",
        "UPDATE editorial_consentevent SET given = false",
    ):
        with pytest.raises((IntegrityError, InternalError), match="never changes"), transaction.atomic():
            connection.cursor().execute(statement)


def test_everybody_can_check_the_hashes(mended: Take, pair: Pair, editor: User, admin: User) -> None:
    voted(pair, editor, -2)
    snapshot = made(ANY, admin)
    found = lines(snapshot)
    assert len(found) == snapshot.rows == 2
    rows = [row_digest(*(digest(line[name]) for name in ("prompt", "chosen", "rejected"))) for line in found]
    assert rows == [row["sha256"] for row in lines(snapshot, "origin.jsonl")]
    assert row_digest(*rows) == snapshot.sha256
    with written(snapshot, "train.parquet") as file:
        assert pq.read_table(file).to_pylist() == found
    with written(snapshot, "README.md") as file:
        card = file.read().decode()
    assert snapshot.sha256 in card
    assert snapshot.described in card


def test_prompts_only(mended: Take, pair: Pair, admin: User) -> None:
    assert mended.brief.sha256 == pair.brief.sha256, "asked twice, a prompt is there once"
    some_pair("Another")
    snapshot = made(SnapshotQuery(kind="prompts"), admin)
    found = lines(snapshot)
    assert [list(line) for line in found] == [["prompt"], ["prompt"]]
    assert {row_digest(digest(line["prompt"])) for line in found} == {row["sha256"] for row in lines(snapshot, "origin.jsonl")}  # fmt: skip
    assert found[0]["prompt"][0]["content"].endswith("words long.")


def test_one_editor_contributes_so_much_at_most(make_editor: Callable[[], User]) -> None:
    def row(number: int, **by: float) -> Row:
        return Row(f"{number:03}", 1, by={int(name[1:]): share for name, share in by.items()})

    rows = [row(n, e1=1.0) for n in range(80)] + [row(100 + n, e2=1.0) for n in range(10)]
    rows += [row(200 + n, e3=0.5, e2=0.5) for n in range(10)]
    for most in (0.6, 0.5, 0.4):
        left_out: Counter[str] = Counter()
        kept = _capped(rows, most, left_out)
        parts: dict[Any, float] = {}
        for one in kept:
            for editor, part in one.by.items():
                parts[editor] = parts.get(editor, 0) + part
        assert kept
        assert max(parts.values()) <= most * len(kept) + 1e-6
        assert left_out["rows over one editor's share"] == len(rows) - len(kept)
    kept = _capped(rows, 0.6, Counter())
    assert sum(1 in one.by for one in kept) == 30, "as many as fit: 30 of 50"


def test_nobody_is_no_editor(editor: User) -> None:
    """What was imported, or what nobody has looked at, is not one editor's: all of it stays, and it makes room for theirs."""
    nobody = [Row(f"{number:03}", 1, by={None: 1.0}) for number in range(90)]
    ours = [Row(f"{100 + number}", 1, by={editor.pk: 1.0}) for number in range(30)]
    left_out: Counter[str] = Counter()
    assert _capped(nobody, 0.1, left_out) == nobody
    kept = _capped(nobody + ours, 0.1, left_out)
    assert kept[:90] == nobody
    assert (len(kept), left_out["rows over one editor's share"]) == (100, 20)


def test_the_same_number_of_queries_for_one_pair_and_for_forty(editor: User, admin: User) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as caught:
            made(ANY, admin)
        return len(caught)

    def add(number: int) -> None:
        for index in range(number):
            voted(some_pair(f"Story {number} {index}"), editor, 1)

    add(1)
    few = queries()
    add(40)
    assert queries() == few


def test_only_these(pair: Pair, editor: User, admin: User, version: PrincipleVersion) -> None:
    first = voted(pair, editor, 1)
    other = some_pair("Another")
    voted(other, admin, 1)
    assert [row.origin["pair"] for row in build(ANY.model_copy(update={"editors": (admin.pk,)})).rows] == [other.pk]
    first.vote_reasons.create(version=version)
    named = build(ANY.model_copy(update={"principles": ("particular-thing",)})).rows
    assert [(row.origin["pair"], row.origin["principles"]) for row in named] == [(pair.pk, [("particular-thing", 1)])]
    Vote.objects.filter(pk=first.pk).update(created=datetime(2025, 5, 31, 23, 59, tzinfo=UTC))
    query = checked_query(ANY.model_dump(mode="json") | {"until": "2025-05-31"})
    assert [row.origin["pair"] for row in build(query).rows] == [pair.pk]
    writers = some_pair("Third", source="writer")
    voted(writers, editor, -1, source="writer")
    assert {row.origin["pair"] for row in build(ANY.model_copy(update={"votes": False, "choices": True})).rows} == {writers.pk}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"votes": False, "mended": False}, "at least one source"),
        ({"violations": "all"}, "Violations"),
        ({"since": "2026-02-02", "until": "2026-01-01"}, "before the beginning"),
        ({"most_share": 0}, "Most share"),
        ({"least_agreement": 0.2}, "Least agreement"),
        ({"charm": 1}, "Charm"),
    ],
)
def test_a_query_that_cannot_be(change: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused, match=told):
        checked_query(change)


def test_a_query_in_words() -> None:
    query = SnapshotQuery(editors=(3,), principles=("a",), most_share=0.4, since=datetime(2026, 3, 1).date())  # noqa: DTZ001
    said = query.described({3: "Edna"}, {"a": "The particular thing"})
    assert said == (
        "Editors' blind votes on pairs and passages as written and as mended. Only by Edna. Only what names “The particular thing”. "
        "Judged from 1 March 2026. A pair counts when it has 2 or more votes and 66% or more of them are for the same take, or when it "
        "was settled. A vote counts when 50% or more of both takes had been on the screen. No editor contributes more than 40%."
    )


@pytest.mark.parametrize(
    ("violations", "told"),
    [
        ("accepted", "Violations that editors accepted or mended."),
        ("not_rejected", "Violations that no editor rejected."),
    ],
)
def test_violations_in_words(violations: str, told: str) -> None:
    query = checked_query({"votes": False, "mended": False, "violations": violations})
    assert query.described({}, {}) == told


def test_the_form_asks_for_violations(admin: User, sign_in: Callable[..., Client]) -> None:
    client = sign_in(admin)
    assert "All that no editor rejected" in client.get("/snapshots/").content.decode()
    assert client.post("/snapshots/", {"kind": "preference", "violations": "not_rejected"}).status_code == 302
    asked = Snapshot.objects.get()
    assert (asked.query["violations"], asked.query["votes"]) == ("not_rejected", False)
    page = client.post("/snapshots/", {"kind": "preference", "violations": "no"})
    assert (page.status_code, page.context["typed"]["violations"]) == (422, "no")


def test_beside_a_snapshot_from_before_there_were_violations(
    pair: Pair, editor: User, admin: User, sign_in: Callable[..., Client]
) -> None:
    voted(pair, editor, 1)
    query = ANY.model_dump(mode="json")
    del query["violations"]
    older = Snapshot.objects.create(number=1, kind="preference", query=query, described="")
    assert make_snapshot(snapshot_id=older.pk)
    made(ANY, admin)
    assert sign_in(admin).get("/snapshots/2").context["changed"] == []


def test_nothing_to_put_into_it(admin: User) -> None:
    asked = ask_snapshot(by=admin, query=SnapshotQuery())
    assert make_snapshot(snapshot_id=asked.pk) is None
    asked.refresh_from_db()
    assert (asked.state, "would be empty" in asked.problem) == ("failed", True)
    assert make_snapshot(snapshot_id=asked.pk) is None


# From elsewhere


def jsonl(*rows: Any) -> io.BytesIO:
    return io.BytesIO("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode())


def test_what_went_out_comes_back(mended: Take, pair: Pair, editor: User, admin: User) -> None:
    voted(pair, editor, -2)
    snapshot = made(ANY, admin)
    for name in ("train.jsonl", "train.parquet"):
        with written(snapshot, name) as file:
            preferences = read_preferences(file, name, 1000)
        assert import_preferences(by=admin, preferences=preferences) == ((2, 0) if name == "train.jsonl" else (0, 2))
    again = made(SnapshotQuery(votes=False, mended=False, imported=True), admin)
    assert again.sha256 == snapshot.sha256, "the same rows have the same hashes"
    assert not Pair.objects.filter(source="import", wanted=True).exists()


GOOD = {"prompt": "Write.", "chosen": "The lamp.", "rejected": "A light."}


def test_texts_and_other_columns(admin: User) -> None:
    rows = read_preferences(jsonl(GOOD | {"score": 3}, "", GOOD | {"chosen": [{"role": "assistant", "content": "Lit."}]}), "x.jsonl", 10)  # fmt: skip
    assert [row.chosen for row in rows] == ["The lamp.", "Lit."]
    assert rows[0].prompt == [{"role": "user", "content": "Write."}]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["{"], "Row 1 is not JSON"),
        (["[" * 100_000], "Row 1 is not JSON"),
        ([GOOD, {"prompt": "x", "chosen": "y"}], "Row 2: there is no rejected"),
        ([[1]], "not an object"),
        ([GOOD | {"prompt": 3}], "neither a text"),
        ([GOOD | {"chosen": " "}], "chosen is empty"),
        ([GOOD | {"rejected": "The  lamp."}], "the same text"),
        ([GOOD | {"chosen": "a\x00"}], "control character"),
        (['{"prompt": "\\ud800", "chosen": "a", "rejected": "b"}'], "Row 1"),
        ([GOOD | {"prompt": [{"role": "wizard", "content": "x"}]}], "neither a text"),
        ([GOOD | {"prompt": []}], "prompt is empty"),
        ([GOOD | {"chosen": [{"role": "user", "content": "x"}]}], "one message of the assistant"),
        ([], "no rows"),
    ],
)
def test_a_file_that_cannot_be_used(rows: list[Any], told: str) -> None:
    with pytest.raises(Refused, match=told):
        read_preferences(jsonl(*rows), "x.jsonl", 10)


def test_parquet_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b"", b"PAR1 but no more", b"\x00" * 1000):
        with pytest.raises(Refused, match="as Parquet"):
            read_preferences(io.BytesIO(content), "x.parquet", 10)
    out = io.BytesIO()
    pq.write_table(pa.table({"prompt": ["a"]}), out)
    with pytest.raises(Refused, match="no column chosen"):
        read_preferences(out, "x.parquet", 10)
    out = io.BytesIO()
    many = {name: [name * 100] * 2000 for name in ("prompt", "chosen", "rejected")}
    pq.write_table(pa.table(many), out, use_dictionary=False)
    monkeypatch.setattr("writer.editorial.snapshots.importing.UNPACKED_BYTES", 100_000)
    with pytest.raises(Refused, match="too much text"):
        read_preferences(out, "x.parquet", 10)


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="the limit is"):
        read_preferences(jsonl(GOOD), "x.jsonl", 10**12)
    monkeypatch.setattr("writer.editorial.snapshots.importing.MOST_ROWS", 1)
    with pytest.raises(Refused, match="more than 1 rows"):
        read_preferences(jsonl(GOOD, GOOD), "x.jsonl", 10)
    monkeypatch.setattr("writer.editorial.snapshots.importing.LINE_BYTES", 20)
    with pytest.raises(Refused, match="longer than the limit of a story"):
        read_preferences(jsonl(GOOD), "x.jsonl", 10)
