"""Violations as rows: the passage as it was written is chosen, the worse one rejected, and the text before it is the prompt."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.cast import PRINCIPLE, TEXTS
from tests.writer.editorial.test_acts import marked
from tests.writer.editorial.test_snapshots import lines, made
from tests.writer.editorial.test_store_violations import stored
from tests.writer.editorial.test_violations import judged
from writer.accounts.models import User
from writer.editorial.messages import digest, row_digest
from writer.editorial.models import Pair, PairSource, PrincipleVersion, Reading, SnapshotRow, Take, Violation
from writer.editorial.operations.act import undo
from writer.editorial.operations.freeze import brief_of, take_of
from writer.editorial.operations.import_preferences import import_preferences
from writer.editorial.operations.save_principle import save_principle
from writer.editorial.operations.set_state import set_state
from writer.editorial.operations.share import share
from writer.editorial.snapshots.build import build
from writer.editorial.snapshots.formats import written
from writer.editorial.snapshots.importing import read_preferences
from writer.editorial.snapshots.query import SnapshotQuery
from writer.stories.operations.delete_story import delete_story

pytestmark = pytest.mark.django_db
ACCEPTED = SnapshotQuery(votes=False, mended=False, violations="accepted")
NOT_REJECTED = SnapshotQuery(votes=False, mended=False, violations="not_rejected")


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def test_an_accepted_violation_is_a_row(pair: Pair, version: PrincipleVersion, editor: User, admin: User) -> None:
    (found,) = stored(pair.first, "All was silent.", passage="Nobody came up the stairs.")
    judged(editor, found)
    snapshot = made(ACCEPTED, admin)
    (line,) = lines(snapshot)
    assert line["chosen"] == said("Nobody came up the stairs.")
    assert line["rejected"] == said("All was silent.")
    assert [message["role"] for message in line["prompt"]] == ["user", "assistant", "user"]
    assert line["prompt"][1]["content"] == "The lamp was lit at six."
    (origin,) = lines(snapshot, "origin.jsonl")
    assert (origin["source"], origin["violation"], origin["editor"]) == ("violations", found.pk, editor.pk)
    assert (origin["principles"], origin["label"]) == ([[PRINCIPLE.key, 1]], 1.0)
    assert snapshot.counts == {"sources": {"violations": 1}, "left_out": {}}
    (row,) = build(ACCEPTED).rows
    assert (row.by, row.chosen, row.rejected) == ({editor.pk: 1.0}, pair.first_id, pair.first_id)
    assert row.passage == {"start": 26, "end": 52, "worse": "All was silent."}


def test_the_prompt_is_that_of_a_mended_passage(
    pair: Pair, version: PrincipleVersion, editor: User, admin: User
) -> None:
    """A mark on the same words, with the worse ones as if they were better: all is the same but for what is chosen."""
    (found,) = stored(pair.first, "All was silent.", passage="Nobody came up the stairs.")
    judged(editor, found)
    Reading.objects.create(pair=pair, editor=editor, swapped=False, state="voted")
    marked(editor, pair.first, version, "Nobody came up the stairs.", better="All was silent.")
    (mended,) = lines(made(SnapshotQuery(votes=False), admin))
    (worse,) = lines(made(ACCEPTED, admin))
    assert mended["prompt"] == worse["prompt"]
    assert (mended["chosen"], mended["rejected"]) == (worse["rejected"], worse["chosen"])


def test_several_paragraphs_and_what_was_given(version: PrincipleVersion, editor: User, admin: User) -> None:
    brief = brief_of(None, title="The Lamp", premise="A keeper.", target=600, given="It was dusk.\n\nIt rained.")
    first, rest = TEXTS[0].split("\n\n", 1)
    one, other = take_of(brief, TEXTS[0]), take_of(brief, TEXTS[1])
    judged(editor, stored(one, "Nothing.\n\nAnd nothing more.", passage=rest)[0])
    judged(editor, stored(other, "Sad.", passage="The keeper was sad.")[0])
    found = {line["rejected"][0]["content"]: line for line in lines(made(ACCEPTED, admin))}
    assert found["Nothing.\n\nAnd nothing more."]["chosen"] == said(rest)
    assert found["Nothing.\n\nAnd nothing more."]["prompt"][1]["content"] == f"It was dusk.\n\nIt rained.\n\n{first}"
    assert found["Sad."]["prompt"][1]["content"] == "It was dusk.\n\nIt rained."


def test_an_editors_own_wording_is_what_is_rejected(violation: Violation, editor: User, admin: User) -> None:
    judged(editor, violation, "mended", mended="A lamp shone.")
    (line,) = lines(made(ACCEPTED, admin))
    assert line["rejected"] == said("A lamp shone.")


def test_which_are_asked_for(pair: Pair, version: PrincipleVersion, editor: User) -> None:
    accepted, mended, rejected, waiting = stored(pair.first, "One.", "Two.", "Three.", "Four.")
    judged(editor, accepted, op_id="a")
    judged(editor, mended, "mended", mended="Two and a half.")
    judged(editor, rejected, "rejected", reason="awkward")

    def asked(query: SnapshotQuery) -> dict[int, Any]:
        return {row.origin["violation"]: (row.origin["editor"], row.by) for row in build(query).rows}

    by_editor, by_nobody = (editor.pk, {editor.pk: 1.0}), (None, {None: 1.0})
    assert asked(ACCEPTED) == {accepted.pk: by_editor, mended.pk: by_editor}
    assert asked(NOT_REJECTED) == asked(ACCEPTED) | {waiting.pk: by_nobody}
    assert build(SnapshotQuery()).rows == []
    assert asked(NOT_REJECTED.model_copy(update={"editors": (editor.pk,)})) == asked(ACCEPTED)
    assert asked(NOT_REJECTED.model_copy(update={"principles": ("another",)})) == {}
    undo(by=editor, op_id="a")
    assert asked(ACCEPTED).keys() == {mended.pk}


def test_what_nobody_looked_at_is_not_capped(pair: Pair, version: PrincipleVersion, editor: User) -> None:
    first, *_ = stored(pair.first, *(f"It was {number}." for number in range(10)))
    judged(editor, first)
    built = build(NOT_REJECTED.model_copy(update={"most_share": 0.1}))
    assert (len(built.rows), built.left_out["rows over one editor's share"]) == (10, 0)


def test_when_it_was_said(pair: Pair, version: PrincipleVersion, editor: User) -> None:
    """By the day of the verdict; what waits, by the day that it was made."""
    one, other = stored(pair.first, "One.", "Two.")
    judged(editor, one)
    Violation.objects.filter(pk=one.pk).update(judged=datetime(2025, 5, 31, 23, 59, tzinfo=UTC))
    until = NOT_REJECTED.model_copy(update={"until": datetime(2025, 5, 31, tzinfo=UTC).date()})
    since = NOT_REJECTED.model_copy(update={"since": datetime(2025, 6, 1, tzinfo=UTC).date()})
    assert [row.origin["violation"] for row in build(until).rows] == [one.pk]
    assert [row.origin["violation"] for row in build(since).rows] == [other.pk]


def test_what_is_left_out(offered: Violation, owner: User, editor: User, admin: User) -> None:
    judged(editor, offered)

    def left_out() -> dict[str, int]:
        built = build(ACCEPTED)
        assert built.rows == []
        return {reason: number for reason, number in built.left_out.items() if number}

    story_id = offered.take.brief.story_id
    assert story_id
    assert len(build(ACCEPTED).rows) == 1
    share(by=owner, story_id=story_id, consent="training", given=False)
    assert left_out() == {"violations in stories without consent": 1}
    share(by=owner, story_id=story_id, consent="training", given=True)
    set_state(by=admin, key=PRINCIPLE.key, state="draft")
    assert left_out() == {"violations of principles that are not in force": 1}
    set_state(by=admin, key=PRINCIPLE.key, state="in_force")
    record = PRINCIPLE.model_copy(update={"explanation": "Another thing."})
    save_principle(by=admin, record=record, base=1, meaning_changed=True, why="It was unclear.")
    assert left_out() == {"violations under an older meaning of a principle": 1}


def test_nothing_of_an_arena(violation: Violation, editor: User) -> None:
    judged(editor, violation)
    assert len(build(ACCEPTED).rows) == 1
    Pair.objects.update(source=PairSource.ARENA)
    built = build(ACCEPTED)
    assert built.rows == []
    assert built.left_out["violations on prompts of an arena"] == 1


def test_consent_taken_back_leaves_a_tombstone(offered: Violation, owner: User, editor: User, admin: User) -> None:
    judged(editor, offered)
    snapshot = made(ACCEPTED, admin)
    story_id = offered.take.brief.story_id
    assert story_id
    share(by=owner, story_id=story_id, consent="training", given=False)
    row = SnapshotRow.objects.get()
    assert (row.gone is not None, row.passage, row.sha256 != "") == (True, None, True)
    assert lines(snapshot) == []
    (origin,) = lines(snapshot, "origin.jsonl")
    assert (origin["line"], origin["sha256"]) == (None, row.sha256)
    assert offered.worse not in str(origin)


def test_a_deleted_story_leaves_a_tombstone(offered: Violation, owner: User, editor: User, admin: User) -> None:
    judged(editor, offered)
    snapshot = made(ACCEPTED, admin)
    story_id = offered.take.brief.story_id
    assert story_id
    delete_story(user=owner, story_id=story_id)
    row = SnapshotRow.objects.get()
    assert (row.gone is not None, row.passage, row.chosen) == (True, None, None)
    assert row_digest(row.sha256) == snapshot.sha256, "the snapshot can still be checked"
    assert not Violation.objects.exists()


def test_a_snapshot_keeps_what_was_taken_back_later(violation: Violation, editor: User, admin: User) -> None:
    judged(editor, violation, op_id="a")
    snapshot = made(ACCEPTED, admin)
    before = lines(snapshot)
    undo(by=editor, op_id="a")
    assert lines(snapshot) == before
    assert build(ACCEPTED).rows == []


def test_everybody_can_check_the_hashes_and_it_comes_back(violation: Violation, editor: User, admin: User) -> None:
    judged(editor, violation, "mended", mended="A lamp.\n\nIt shone.")
    snapshot = made(ACCEPTED, admin)
    (line,) = lines(snapshot)
    (origin,) = lines(snapshot, "origin.jsonl")
    assert origin["sha256"] == row_digest(*(digest(line[name]) for name in ("prompt", "chosen", "rejected")))
    with written(snapshot, "train.parquet") as file:
        preferences = read_preferences(file, "train.parquet", 1000)
    assert import_preferences(by=admin, preferences=preferences) == (1, 0)
    again = made(SnapshotQuery(votes=False, mended=False, imported=True), admin)
    assert again.sha256 == snapshot.sha256, "the same row has the same hash"


def test_the_same_number_of_queries_for_one_and_for_many(pair: Pair, version: PrincipleVersion, admin: User) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as caught:
            made(NOT_REJECTED, admin)
        return len(caught)

    def add(number: int) -> None:
        brief = brief_of(None, title=f"Story {number}", premise="A keeper.", target=600)
        takes: list[Take] = [take_of(brief, f"{index}. {TEXTS[0]}") for index in range(number)]
        for take in takes:
            stored(take, f"Worse {number} {take.pk}.")

    add(1)
    few = queries()
    add(20)
    assert queries() == few
