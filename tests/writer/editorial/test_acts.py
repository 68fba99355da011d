"""Acts: each is stored once, only if allowed, and can be undone completely."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.utils import timezone
from pydantic import TypeAdapter

from tests.cast import PRINCIPLE, TEXTS
from training.common.rubric import DIMENSIONS
from writer.accounts.models import User
from writer.editorial.acts import AnyAct
from writer.editorial.models import (
    Act,
    Mark,
    Pair,
    Principle,
    PrincipleVersion,
    Reading,
    RubricSheet,
    Settlement,
    Take,
    Vote,
)
from writer.editorial.operations.act import act, undo
from writer.editorial.operations.next_pair import disagreements, next_disagreement
from writer.editorial.operations.save_principle import save_principle
from writer.editorial.operations.share import share
from writer.editorial.stale import stale_marks, stale_reasons
from writer.refusals import Missing, NotNow, Refused

pytestmark = pytest.mark.django_db
ACT: TypeAdapter[Any] = TypeAdapter(AnyAct)


def do(by: User, op_id: str | None = None, **asked: Any) -> Act:
    return act(by=by, op_id=op_id or uuid4().hex, asked=ACT.validate_python(asked))


def marked(by: User, on: Take, version: PrincipleVersion, words: str = "mementos", **more: Any) -> Act:
    start = on.text.index(words)
    place: dict[str, Any] = {"take": on.pk, "start": start, "end": start + len(words), "quote": words}
    return do(by, kind="mark", id=str(uuid4()), version=version.pk, **(place | more))


def test_a_vote_is_stored_as_the_pair_has_it(reading: Reading, editor: User, version: PrincipleVersion) -> None:
    Reading.objects.filter(pk=reading.pk).update(swapped=True, seen_left=[[0, 1]], seen_right=[[0, 3]], seconds=40)
    do(
        editor, kind="vote", reading=reading.pk, preference=-2, axes={"prose": -1}, reason="It holds its breath.",
        principles=[version.pk],
    )  # fmt: skip
    vote = Vote.objects.get()
    assert (vote.preference, vote.axes, vote.reason, vote.seconds) == (2, {"prose": 1}, "It holds its breath.", 40)
    assert vote.read_first == 1, "what stood on the right is the first of the pair"
    assert vote.read_second == pytest.approx(4 / 12, abs=1e-3)
    assert [reason.version_id for reason in vote.vote_reasons.all()] == [version.pk]
    assert Pair.objects.get().votes == 1
    assert Reading.objects.get().state == "voted"


def test_sent_twice_it_is_stored_once(reading: Reading, editor: User) -> None:
    asked: dict[str, Any] = {"kind": "vote", "reading": reading.pk, "preference": 1}
    first, again = do(editor, "a", **asked), do(editor, "a", **asked)
    assert first.pk == again.pk
    assert Vote.objects.count() == 1
    with pytest.raises(Refused, match="belongs to another act"):
        do(editor, "a", **(asked | {"preference": 2}))
    undo(by=editor, op_id="a")
    assert do(editor, "a", **asked).undone, "a message that comes late does not bring back what was undone"
    assert not Vote.objects.filter(undone=None).exists()


def test_a_vote_is_undone(reading: Reading, editor: User) -> None:
    do(editor, "a", kind="vote", reading=reading.pk, preference=1)
    undo(by=editor, op_id="a")
    undo(by=editor, op_id="a")
    assert Vote.objects.get().undone
    assert (Pair.objects.get().votes, Reading.objects.get().state) == (0, "open")
    do(editor, kind="vote", reading=reading.pk, preference=-1)
    assert [vote.preference for vote in Vote.objects.filter(undone=None)] == [-1]


def test_a_vote_stands_once_the_names_were_told(reading: Reading, editor: User) -> None:
    do(editor, "a", kind="vote", reading=reading.pk, preference=1)
    Reading.objects.update(revealed=timezone.now())
    with pytest.raises(NotNow, match="cannot be changed"):
        undo(by=editor, op_id="a")
    assert Act.objects.get().undone is None


def test_the_third_vote_ends_the_search_for_editors(
    pair: Pair, editor: User, admin: User, make_editor: Callable[[], User]
) -> None:
    for person in (editor, admin, make_editor()):
        assert Pair.objects.get().wanted
        turn = Reading.objects.create(pair=pair, editor=person, swapped=False)
        do(person, f"v{person.pk}", kind="vote", reading=turn.pk, preference=1)
    assert not Pair.objects.get().wanted
    undo(by=editor, op_id=f"v{editor.pk}")
    assert Pair.objects.get().wanted


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"axes": {"charm": 1}}, "no axis charm"),
        ({"principles": [10**9]}, "no longer in force"),
        ({"reason": "x" * 4001}, "4,000"),
        ({"reason": "\x00"}, "control character"),
    ],
)
def test_a_vote_that_cannot_be(reading: Reading, editor: User, change: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused, match=told):
        do(editor, None, **({"kind": "vote", "reading": reading.pk, "preference": 1} | change))
    assert not Vote.objects.exists()
    assert not Act.objects.exists()


def test_nobody_votes_on_the_turn_of_another(reading: Reading, admin: User) -> None:
    with pytest.raises(Missing):
        do(admin, kind="vote", reading=reading.pk, preference=1)


def test_a_pair_is_passed_over_for_a_reason(reading: Reading, editor: User) -> None:
    for why, note in (("", ""), ("because", ""), ("other", " ")):
        with pytest.raises(Refused):
            do(editor, kind="skip", reading=reading.pk, why=why, note=note)
    do(editor, "a", kind="skip", reading=reading.pk, why="known")
    assert (Reading.objects.get().state, Reading.objects.get().skip_reason) == ("skipped", "known")
    undo(by=editor, op_id="a")
    assert (Reading.objects.get().state, Reading.objects.get().skip_reason) == ("open", "")


def test_a_mark_remembers_its_words(take: Take, editor: User, version: PrincipleVersion) -> None:
    marked(editor, take, version, "🌊 They", note=" Which? ", better="They", severity=3)
    mark = Mark.objects.get()
    assert (mark.quote, mark.before[-10:], mark.after) == ("🌊 They", "mementos. ", " moved him deeply.")
    assert (mark.block, mark.note, mark.better, mark.severity) == (1, "Which?", "They", 3)
    assert take.text[mark.start : mark.end] == mark.quote


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"quote": "memento"}, "not the words"),
        ({"end": 10_000}, "not the words"),
        ({"severity": 4}, "severity"),
        ({"better": "mementos"}, "same as the text"),
        ({"take": None}, "one side of a reading"),
    ],
)
def test_a_mark_that_cannot_be(
    take: Take, editor: User, version: PrincipleVersion, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(Refused, match=told):
        marked(editor, take, version, **change)
    assert not Mark.objects.exists()


def test_a_mark_is_changed_and_taken_away_and_each_is_undone(
    take: Take, editor: User, admin: User, version: PrincipleVersion
) -> None:
    made = marked(editor, take, version, note="First.")
    mark_id = UUID(made.subject)
    with pytest.raises(Missing):
        do(admin, kind="remark", id=mark_id, version=version.pk, note="Mine now.")
    changed = do(editor, kind="remark", id=mark_id, version=version.pk, severity=1, note="Second.", better="a tin")
    assert (Mark.objects.get().note, Mark.objects.get().better) == ("Second.", "a tin")
    taken = do(editor, kind="unmark", id=mark_id)
    assert Mark.objects.get().removed
    undo(by=editor, op_id=taken.op_id)
    undo(by=editor, op_id=changed.op_id)
    assert (Mark.objects.get().note, Mark.objects.get().severity, Mark.objects.get().removed) == ("First.", 2, None)
    undo(by=editor, op_id=made.op_id)
    assert Mark.objects.get().removed


def test_a_mark_on_one_side_of_a_reading(reading: Reading, editor: User, version: PrincipleVersion) -> None:
    Reading.objects.update(swapped=True)
    marked(editor, reading.pair.second, version, take=None, reading=reading.pk, side="left")
    assert Mark.objects.get().take == reading.pair.second


def test_what_the_writer_took_back_is_not_judged(
    take: Take, owner: User, editor: User, version: PrincipleVersion
) -> None:
    assert take.brief.story_id is not None
    share(by=owner, story_id=take.brief.story_id, consent="reading", given=False)
    with pytest.raises(Missing):
        marked(editor, take, version)


def test_a_sheet_takes_the_place_of_the_one_before(take: Take, editor: User) -> None:
    scores = {dimension.key: 1 for dimension in DIMENSIONS}
    sheet = {"scores": scores, "bonus": 0, "penalty": 0}
    do(editor, kind="rubric", take=take.pk, sheet=sheet)
    newer = do(editor, kind="rubric", take=take.pk, sheet=sheet | {"bonus": 5})
    assert [one.overall for one in RubricSheet.objects.filter(removed=None)] == [1]
    undo(by=editor, op_id=newer.op_id)
    assert [one.overall for one in RubricSheet.objects.filter(removed=None)] == [-4]
    with pytest.raises(Refused, match="N7 must be from 0 to 15"):
        do(editor, kind="rubric", take=take.pk, sheet=sheet | {"scores": scores | {"N7": 16}})


@pytest.fixture
def disputed(pair: Pair, editor: User, admin: User) -> Pair:
    Pair.objects.update(overlap=2)
    for person, preference in ((editor, 1), (admin, -2)):
        turn = Reading.objects.create(pair=pair, editor=person, swapped=False)
        do(person, f"v{person.pk}", kind="vote", reading=turn.pk, preference=preference)
    return Pair.objects.get()


def test_a_third_settles(
    disputed: Pair, editor: User, make_editor: Callable[[], User], version: PrincipleVersion
) -> None:
    third = make_editor()
    assert next_disagreement(by=editor) is None, "who voted does not settle"
    turn = next_disagreement(by=third)
    assert turn is not None
    Reading.objects.filter(pk=turn.pk).update(swapped=True)
    asked: dict[str, Any] = {
        "kind": "settle",
        "reading": turn.pk,
        "preference": 1,
        "why": "unclear",
        "words": "What is a thing?",
    }
    with pytest.raises(Refused, match="Which principle"):
        do(third, **asked)
    with pytest.raises(Missing):
        do(third, kind="vote", reading=turn.pk, preference=1)
    do(third, "s", **asked, version=version.pk)
    settled = Settlement.objects.get()
    assert (settled.preference, settled.version_id) == (-1, version.pk)
    assert not disagreements().exists()
    undo(by=third, op_id="s")
    assert disagreements().get() == disputed
    assert next_disagreement(by=third) == turn


def test_another_meaning_makes_a_worklist(
    reading: Reading, take: Take, editor: User, admin: User, version: PrincipleVersion
) -> None:
    do(editor, kind="vote", reading=reading.pk, preference=1, principles=[version.pk])
    mark = marked(editor, take, version)
    record = PRINCIPLE.model_copy(update={"explanation": "Name the one thing that counts."})
    same = save_principle(by=admin, record=record, base=1, meaning_changed=False)
    assert not stale_marks().exists()
    assert not stale_reasons().exists(), "a mended comma leaves everything as it is"
    record = PRINCIPLE.model_copy(update={"explanation": "Name no things."})
    newest = save_principle(by=admin, record=record, base=2, meaning_changed=True, why="The opposite.")
    assert (stale_marks().count(), stale_reasons().count(), Vote.objects.filter(undone=None).count()) == (1, 1, 1)
    vote = Vote.objects.get()
    looked = do(admin, kind="look", mark=mark.subject, version=version.pk, holds=True)
    assert Mark.objects.get().version == newest
    undo(by=admin, op_id=looked.op_id)
    assert Mark.objects.get().version == version
    do(admin, kind="look", mark=mark.subject, version=version.pk, holds=False)
    assert Mark.objects.get().removed
    kept = do(admin, kind="look", vote=vote.pk, version=version.pk, holds=True)
    assert Vote.objects.get(undone=None) == vote
    assert not stale_reasons().exists()
    undo(by=admin, op_id=kept.op_id)
    do(admin, kind="look", vote=vote.pk, version=version.pk, holds=False)
    assert Vote.objects.get(undone=None) == vote
    assert not stale_reasons().exists()
    assert not vote.vote_reasons.exists()
    with pytest.raises(NotNow, match="already"):
        do(admin, kind="look", vote=vote.pk, version=version.pk, holds=False)
    assert same.meaning == 1


def test_a_retired_principle_is_not_named(take: Take, editor: User, version: PrincipleVersion) -> None:
    mark = marked(editor, take, version)
    Principle.objects.update(state="retired")
    with pytest.raises(Refused, match="no longer in force"):
        marked(editor, take, version, "sad")
    assert stale_marks().exists()
    with pytest.raises(NotNow, match="nothing can be confirmed"):
        do(editor, kind="look", mark=mark.subject, version=version.pk, holds=True)


def test_an_act_of_nobody_and_one_from_long_ago(reading: Reading, editor: User, admin: User) -> None:
    do(editor, "a", kind="vote", reading=reading.pk, preference=0)
    with pytest.raises(Missing):
        undo(by=admin, op_id="a")
    Act.objects.update(at=timezone.now() - timedelta(days=30))
    assert undo(by=editor, op_id="a").undone


def test_over_the_api(reading: Reading, editor: User, script: Callable[[User], Client]) -> None:
    client = script(editor)
    answer = client.put(
        "/api/acts/a1", {"kind": "vote", "reading": str(reading.pk), "preference": 3}, "application/json"
    )
    assert (answer.status_code, "preference" in answer.json()["detail"]) == (422, True), answer.content
    answer = client.put("/api/acts/a1", {"kind": "dance"}, "application/json")
    assert answer.status_code == 422
    answer = client.put(
        "/api/acts/a1", {"kind": "vote", "reading": str(reading.pk), "preference": 2}, "application/json"
    )
    assert answer.status_code == 200, answer.content
    assert client.delete("/api/acts/a1").json()["undone"]
    assert client.delete("/api/acts/a2").status_code == 404
    assert TEXTS[0] == client.get(f"/api/readings/{reading.pk}").json()["left"]
