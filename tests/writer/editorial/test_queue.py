"""The pairs that an editor gets: a number of editors per pair, urgent ones first, none twice, none of their own; and the reading position."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from tests.writer.editorial.test_acts import do
from tests.writer.editorial.test_snapshots import some_pair
from writer.accounts.models import User
from writer.editorial.models import Pair, Reading, Take, Vote
from writer.editorial.operations.act import undo
from writer.editorial.operations.follow import follow
from writer.editorial.operations.freeze import brief_of, take_of
from writer.editorial.operations.next_pair import GOLD_EVERY, next_pair, waiting_pairs
from writer.editorial.operations.set_gold import set_gold
from writer.editorial.operations.share import share
from writer.editorial.reading import merged, share_read
from writer.refusals import Missing, NotNow, Refused, TooMuch
from writer.stories.models import Story

pytestmark = pytest.mark.django_db


def given(by: User) -> Pair | None:
    reading = next_pair(by=by)
    return reading.pair if reading else None


def judged(by: User) -> Pair | None:
    """The next pair, voted on."""
    reading = next_pair(by=by)
    if reading is None:
        return None
    do(by, kind="vote", reading=reading.pk, preference=1)
    return reading.pair


def test_the_urgent_first_and_nobody_twice(editor: User) -> None:
    usual, urgent, old = some_pair("A"), some_pair("B"), some_pair("C")
    Pair.objects.filter(pk=urgent.pk).update(priority=5)
    assert [judged(editor) for _ in range(4)] == [urgent, usual, old, None]


def test_what_was_begun_is_given_again(pair: Pair, editor: User) -> None:
    some_pair("Another")
    first = next_pair(by=editor)
    assert next_pair(by=editor) == first


def test_as_many_editors_as_are_wanted(pair: Pair, editor: User, admin: User, make_editor: Callable[[], User]) -> None:
    Pair.objects.update(overlap=2)
    third = make_editor()
    assert given(editor) == pair
    assert given(admin) == pair
    assert given(third) is None, "two are reading it"
    Reading.objects.filter(editor=admin).update(opened=timezone.now() - timedelta(days=2))
    assert given(third) == pair, "one has left it lying"
    reading = Reading.objects.get(editor=editor)
    do(editor, kind="skip", reading=reading.pk, why="known")
    assert given(make_editor()) == pair, "one has passed it over"


def test_nobody_judges_their_own_story_and_only_what_is_offered(
    story: Story, owner: User, editor: User, admin: User
) -> None:
    User.objects.filter(pk=owner.pk).update(role="editor")
    owner.refresh_from_db()
    brief = brief_of(story, title="T", premise="P", target=600)
    pair = Pair.objects.create(brief=brief, first=take_of(brief, "One."), second=take_of(brief, "Two."), source="asked")
    assert given(editor) is None
    share(by=owner, story_id=story.pk, consent="reading", given=True)
    assert given(owner) is None
    assert given(editor) == pair
    share(by=owner, story_id=story.pk, consent="reading", given=False)
    assert given(editor) is None, "what was begun is not read on when the writer takes it back"
    assert not waiting_pairs(admin).exists()


def test_a_gold_pair_now_and_then(editor: User) -> None:
    gold = [some_pair(f"Gold {number}") for number in range(2)]
    Pair.objects.update(gold=1)
    for number in range(3 * GOLD_EVERY):
        some_pair(f"Usual {number}")
    order = [judged(editor) for _ in range(2 * GOLD_EVERY + 5)]
    places = [index for index, pair in enumerate(order) if pair in gold]
    assert len(places) == 2
    assert places[0] >= GOLD_EVERY - 1
    assert places[1] - places[0] >= GOLD_EVERY


def test_a_limit_a_day(pair: Pair, editor: User, admin: User, settings: Settings) -> None:
    settings.PAIRS_PER_DAY = 1
    some_pair("Another")
    assert judged(editor) == pair
    with pytest.raises(TooMuch, match="1 pairs in 24 hours"):
        next_pair(by=editor)
    assert given(admin) == pair, "each editor has a limit of their own"
    Reading.objects.update(opened=timezone.now() - timedelta(hours=25))
    assert given(editor)


def test_both_sides_come_first(editor: User) -> None:
    for number in range(40):
        some_pair(f"Story {number}")
    while judged(editor):
        pass
    swapped = Counter(Reading.objects.values_list("swapped", flat=True))
    assert min(swapped[True], swapped[False]) >= 8, "a fair coin falls so more often than once in 10,000 tests"


def test_an_undone_pass_and_the_place_in_it(reading: Reading, editor: User, admin: User) -> None:
    follow(by=editor, reading_id=reading.pk, places=(1.5, 99), seen=([[0, 2]], []), seconds=30)
    follow(by=editor, reading_id=reading.pk, places=(0, 0.25), seen=([[1, 3], [0, 9]], [[0, 1]]), seconds=20)
    reading.refresh_from_db()
    assert (reading.place_left, reading.place_right) == (0, 0.25)
    assert (reading.seen_left, reading.seen_right, reading.seconds) == ([[0, 3]], [[0, 1]], 30)
    with pytest.raises(Missing):
        follow(by=admin, reading_id=reading.pk, places=(0, 0), seen=([], []), seconds=0)
    do(editor, "a", kind="skip", reading=reading.pk, why="broken")
    follow(by=editor, reading_id=reading.pk, places=(0, 0), seen=([], [[0, 2]]), seconds=90)
    reading.refresh_from_db()
    assert (reading.seen_right, reading.seconds) == ([[0, 1]], 30), (
        "what comes afterwards was not read before the decision"
    )
    undo(by=editor, op_id="a")
    assert next_pair(by=editor) == reading


def test_ranges() -> None:
    assert merged([[5, 3], [-2, 1], [1, 2], [9, 12]], 10) == [[0, 2], [9, 10]]
    assert share_read("One two three.\n\nFour.", [[0, 1]]) == 0.75
    assert share_read("", []) == 0


@pytest.mark.django_db(transaction=True)
def test_twenty_editors_at_once_get_no_more_turns_than_are_wanted(make_editor: Callable[[], User]) -> None:
    editors = [make_editor() for _ in range(20)]
    for number in range(4):
        some_pair(f"Story {number}")
    got: list[UUID | None] = []

    def ask(by: User) -> None:
        try:
            reading = next_pair(by=by)
            got.append(reading.pk if reading else None)
        finally:
            connection.close()

    threads = [threading.Thread(target=ask, args=(one,)) for one in editors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    turns = Counter(Reading.objects.values_list("pair", flat=True))
    assert max(turns.values()) <= 3
    assert len(got) == 20
    assert sum(turns.values()) == len([one for one in got if one])


def test_the_vote_counter_is_what_the_votes_are(pair: Pair, make_editor: Callable[[], User]) -> None:
    acts = []
    for number in range(5):
        person = make_editor()
        turn = Reading.objects.create(pair=pair, editor=person, swapped=False)
        acts.append((person, do(person, kind="vote", reading=turn.pk, preference=number % 3 - 1)))
    for person, act in acts[::2]:
        undo(by=person, op_id=act.op_id)
    pair.refresh_from_db()
    assert pair.votes == Vote.objects.filter(pair=pair, undone=None).count() == 2
    assert Take.objects.count() == 2


def test_an_admin_makes_a_pair_a_gold_one(
    pair: Pair, admin: User, editor: User, sign_in: Callable[..., Client]
) -> None:
    reading = Reading.objects.create(pair=pair, editor=admin, swapped=False)
    with pytest.raises(NotNow, match="Vote first"):
        set_gold(by=admin, reading_id=reading.pk, gold=True, because="It is plain.")
    do(admin, kind="vote", reading=reading.pk, preference=-2)
    with pytest.raises(Refused, match="because"):
        set_gold(by=admin, reading_id=reading.pk, gold=True)
    client = sign_in(admin)
    client.post(f"/desk/pairs/{reading.pk}/reveal")
    client.post(f"/desk/pairs/{reading.pk}/gold", {"gold": "yes", "because": "It is plain."})
    pair.refresh_from_db()
    assert (pair.gold, pair.gold_because) == (-2, "It is plain.")
    assert given(editor) is None, "it is not waiting for votes any more"
    theirs = Reading.objects.create(pair=pair, editor=editor, swapped=False)
    with pytest.raises(Missing):
        set_gold(by=editor, reading_id=theirs.pk, gold=False)
    client.post(f"/desk/pairs/{reading.pk}/gold", {"gold": "no"})
    pair.refresh_from_db()
    assert pair.gold is None
