"""Violations of a stage are stored once, if they are still valid."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from pydantic import ValidationError

from tests.cast import PRINCIPLE, TEXTS
from writer.accounts.models import User
from writer.editorial.models import Pair, PrincipleVersion, Sharing, Take, Violation
from writer.editorial.models.violations import known_by
from writer.editorial.operations.save_principle import save_principle
from writer.editorial.operations.share import share
from writer.editorial.operations.store_violations import ViolationRow, store_violations
from writer.refusals import Refused
from writer.stories.operations.delete_story import delete_story

pytestmark = pytest.mark.django_db
SECOND = "Nobody came up the stairs."


def row(on: Take, passage: str = SECOND, worse: str = "Everything was silent.", **more: Any) -> ViolationRow:
    start = on.text.index(passage)
    given: dict[str, Any] = {
        "take": on.pk,
        "start": start,
        "end": start + len(passage),
        "worse": worse,
        "principle": PRINCIPLE.key,
        "version": 1,
        "because": "Nothing can be seen.",
        "changed": 0.8,
    }
    return ViolationRow(**(given | more))


def stored(on: Take, *worse: str, passage: str = "", **more: Any) -> list[Violation]:
    """Violations with these words for a passage of the text, its first paragraph if none is named."""
    passage = passage or on.text.split("\n\n")[0]
    store_violations([row(on, passage, words, **more) for words in worse], source="run 12")
    return [Violation.objects.get(worse=words) for words in worse]


def test_it_is_stored_as_it_was_made(pair: Pair, version: PrincipleVersion) -> None:
    assert store_violations([row(pair.first)], source="run 12") == 1
    found = Violation.objects.get()
    assert (found.good, found.worse, found.version) == (SECOND, "Everything was silent.", version)
    assert (found.because, found.changed, found.source) == ("Nothing can be seen.", 0.8, "run 12")
    assert (found.state, found.judged, found.by) == ("waiting", None, None)
    assert found.sha256 == known_by(pair.first, found.start, found.end, found.worse, version)


def test_the_same_is_stored_once(pair: Pair, version: PrincipleVersion) -> None:
    rows = [row(pair.first), row(pair.first, because="In other words."), row(pair.first, worse="All was still.")]
    assert store_violations(iter(rows), source="run 12") == 2
    assert store_violations(rows, source="run 13") == 0
    assert set(Violation.objects.values_list("source", flat=True)) == {"run 12"}


def test_what_was_looked_at_is_not_touched(pair: Pair, editor: User, version: PrincipleVersion) -> None:
    store_violations([row(pair.first)], source="run 12")
    Violation.objects.update(state="accepted", by=editor, judged="2026-01-01T00:00Z")
    assert store_violations([row(pair.first)], source="run 13") == 0
    assert Violation.objects.get().state == "accepted"


def test_another_wording_of_the_principle_makes_it_another_one(
    pair: Pair, editor: User, version: PrincipleVersion
) -> None:
    record = PRINCIPLE.model_copy(update={"name": "One thing"})
    save_principle(by=editor, record=record, base=1, meaning_changed=False)
    assert store_violations([row(pair.first), row(pair.first, version=2)], source="run 12") == 2


def test_more_than_one_part(pair: Pair, version: PrincipleVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("writer.editorial.operations.store_violations.AT_ONCE", 2)
    rows = [row(pair.first, worse=f"It was {number}.") for number in range(5)]
    assert store_violations([*rows, rows[0]], source="run 12") == 5


def test_paragraphs_are_parted_as_in_takes(pair: Pair, version: PrincipleVersion) -> None:
    store_violations([row(pair.first, worse="It was sad.\n \n\nVery sad.\n")], source="run 12")
    assert Violation.objects.get().worse == "It was sad.\n\nVery sad."


@pytest.mark.parametrize(
    "change",
    [
        {"start": 27},
        {"end": 51},
        {"end": 10_000},
        {"start": 52, "end": 26},
        {"start": 26, "end": 26},
        {"start": 1, "end": 24},
        {"worse": SECOND},
        {"worse": f" {SECOND.replace(' ', '  ')}\n\n"},
        {"worse": " \n\n "},
        {"take": 10**9},
        {"principle": "another"},
        {"version": 2},
    ],
)
def test_what_has_no_ground_is_passed_over(pair: Pair, version: PrincipleVersion, change: dict[str, Any]) -> None:
    assert store_violations([row(pair.first, **change), row(pair.first)], source="run 12") == 1


@pytest.mark.parametrize(("start", "end"), [(0, 24), (0, 52), (26, 52), (26, len(TEXTS[0])), (0, len(TEXTS[0]))])
def test_whole_paragraphs(pair: Pair, version: PrincipleVersion, start: int, end: int) -> None:
    assert store_violations([row(pair.first, start=start, end=end)], source="run 12") == 1


@pytest.mark.parametrize(
    "change",
    [
        {"worse": "bell \x07"},
        {"worse": "half \ud800"},
        {"worse": "x" * 20_001},
        {"because": ""},
        {"because": "x" * 1001},
        {"because": "\x00"},
        {"changed": 1.1},
        {"changed": float("nan")},
        {"take": 0},
        {"charm": 1},
    ],
)
def test_a_row_that_cannot_be(pair: Pair, change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        row(pair.first, **change)


def test_the_source_is_named(pair: Pair, version: PrincipleVersion) -> None:
    for source in ("", " ", "x" * 81, "run\x00"):
        with pytest.raises(Refused):
            store_violations([row(pair.first)], source=source)


def test_only_what_may_be_learned_from(take: Take, owner: User, version: PrincipleVersion) -> None:
    assert take.brief.story_id
    made = row(take, "The keeper was sad.")
    assert store_violations([made], source="run 12") == 0, "offered to editors, and no more than that"
    share(by=owner, story_id=take.brief.story_id, consent="training", given=True)
    assert store_violations([made], source="run 12") == 1
    share(by=owner, story_id=take.brief.story_id, consent="training", given=False)
    assert store_violations([row(take, "The keeper was sad.", worse="Sad.")], source="run 12") == 0


def test_it_goes_with_the_text(take: Take, owner: User, version: PrincipleVersion) -> None:
    assert take.brief.story_id
    share(by=owner, story_id=take.brief.story_id, consent="training", given=True)
    made = row(take, "The keeper was sad.")
    assert store_violations([made], source="run 12") == 1
    delete_story(user=owner, story_id=take.brief.story_id)
    assert not Violation.objects.exists()
    assert store_violations([made], source="run 12") == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("taken", ["consent", "story"])
def test_what_the_writer_takes_back_meanwhile(take: Take, owner: User, version: PrincipleVersion, taken: str) -> None:
    """It waits for the rows: none is left in a story that is gone, and no story is kept by one."""
    story_id = take.brief.story_id
    assert story_id
    share(by=owner, story_id=story_id, consent="training", given=True)
    done = threading.Event()

    def take_back() -> None:
        try:
            if taken == "story":
                delete_story(user=owner, story_id=story_id)
            else:
                share(by=owner, story_id=story_id, consent="training", given=False)
            done.set()
        finally:
            connection.close()

    thread = threading.Thread(target=take_back)
    with transaction.atomic():
        assert store_violations([row(take, "The keeper was sad.")], source="run 12") == 1
        thread.start()
        assert not done.wait(0.5)
    thread.join(10)
    assert done.is_set()
    if taken == "story":
        assert not Violation.objects.exists()
    else:
        assert not Sharing.objects.get().training


@pytest.mark.django_db(transaction=True)
def test_two_stages_that_made_the_same(pair: Pair, version: PrincipleVersion) -> None:
    counts = []

    def second() -> None:
        try:
            counts.append(store_violations([row(pair.first)], source="run 13"))
        finally:
            connection.close()

    thread = threading.Thread(target=second)
    with transaction.atomic():
        assert store_violations([row(pair.first)], source="run 12") == 1
        thread.start()
        thread.join(0.5)
    thread.join(10)
    assert counts == [0]
    assert Violation.objects.get().source == "run 12"


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ('start = "end"', "never changes"),
        ("worse = 'Other.'", "never changes"),
        ("because = 'Other.'", "never changes"),
        ("state = 'loved', judged = now()", "violation_state_known"),
        ("state = 'accepted'", "violation_judged_or_waiting"),
        ("judged = now()", "violation_judged_or_waiting"),
        ("by_id = (SELECT min(id) FROM accounts_user)", "violation_judged_or_waiting"),
        ("state = 'mended', judged = now()", "violation_mended_with_words"),
        ("mended = 'Other.'", "violation_mended_with_words"),
        ("state = 'rejected', judged = now()", "violation_rejected_for_a_reason"),
        ("state = 'rejected', judged = now(), reason = 'charm'", "violation_reason_known"),
        ("state = 'accepted', judged = now(), note = 'Fine.'", "violation_rejected_for_a_reason"),
    ],
)
def test_the_database_holds_it_to_that(pair: Pair, version: PrincipleVersion, change: str, constraint: str) -> None:
    store_violations([row(pair.first)], source="run 12")
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        connection.cursor().execute(f"UPDATE editorial_violation SET {change}")
