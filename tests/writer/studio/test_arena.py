"""An arena from its opening to its decision, with votes as rows; and that nothing of it is ever learned from."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from workers.jobs.arenas import advance, count
from writer.accounts.models import User
from writer.editorial.models import Pair, PairSource, Reading, Vote, VoteSource
from writer.editorial.operations.freeze import brief_of, take_of
from writer.editorial.operations.next_pair import next_pair
from writer.editorial.snapshots.build import build
from writer.editorial.snapshots.query import SnapshotQuery
from writer.refusals import NotNow, Refused
from writer.stories.models import Channel, Chunk, Ending, Generation, ModelVersion, State
from writer.studio.held_out import is_held_out
from writer.studio.models import Arena, ArenaState, ArenaTake
from writer.studio.operations.open_arena import close_arena, open_arena, pairs_of

pytestmark = pytest.mark.django_db


def finish(generation: Generation, text: str) -> None:
    Chunk.objects.create(generation=generation, seq=1, channel=Channel.STORY, start=0, attempt=1, text=text)
    Generation.objects.filter(pk=generation.pk).update(
        state=State.DONE, ending=Ending.ENDED, last_seq=1, story_chars=len(text), words=len(text.split())
    )


def write_all(arena: Arena) -> None:
    for one in ArenaTake.objects.filter(contestant__arena=arena).exclude(generation=None).select_related("generation"):
        assert one.generation is not None
        if one.generation.state == State.QUEUED:
            finish(
                one.generation,
                f"Take {one.pk} of the lamp.\n\nNobody came up the stairs that night, and it was number {one.pk}.",
            )


def vote(pair: Pair, arena: Arena, by: User, *, for_candidate: int) -> None:
    """1 for the candidate, -1 against it, 0 a tie; as the editors' room stores it."""
    mine = ArenaTake.objects.get(take=pair.first, contestant__arena=arena).contestant
    turn = -1 if mine.version_id == arena.candidate_id else 1
    Vote.objects.create(
        pair=pair, by=by, source=VoteSource.EDITOR, preference=turn * for_candidate, read_first=1, read_second=1
    )
    Pair.objects.filter(pk=pair.pk).update(votes=1, wanted=False)


@pytest.fixture
def arena(candidate: ModelVersion, admin: User) -> Arena:
    opened = open_arena(by=admin, candidate=candidate.pk, prompts=12, words=300)
    write_all(opened)
    advance()
    opened.refresh_from_db()
    return opened


def test_it_is_written_read_and_decided(arena: Arena, editor: User) -> None:
    assert arena.state == ArenaState.OPEN
    pairs = list(pairs_of(arena).order_by("pk"))
    assert len(pairs) == 12
    for number, pair in enumerate(pairs[:8]):
        vote(pair, arena, editor, for_candidate=0 if number == 3 else 1)
        advance()
    arena.refresh_from_db()
    assert arena.state == ArenaState.DECIDED
    assert arena.result is not None
    assert (arena.result["wins"], arena.result["losses"], arena.result["ties"]) == (7, 0, 1)
    assert arena.result["decision"] == "better"
    elo = [one["elo"] for one in arena.result["ratings"]]
    assert elo[0] > 1000 > elo[1]
    assert not pairs_of(arena).filter(wanted=True).exists(), "no editor reads on for nothing"


def test_votes_that_do_not_prove_anything(arena: Arena, editor: User) -> None:
    for number, pair in enumerate(pairs_of(arena).order_by("pk")):
        vote(pair, arena, editor, for_candidate=1 if number % 2 else -1)
    advance()
    arena.refresh_from_db()
    assert arena.result is not None
    assert (arena.state, arena.result["decision"]) == (ArenaState.DECIDED, "not better")


def test_an_editor_gets_its_pairs_blind_and_first(arena: Arena, pair: Pair, editor: User) -> None:
    reading = next_pair(by=editor)
    assert reading is not None
    assert reading.pair.source == PairSource.ARENA
    assert Reading.objects.count() == 1


def test_nothing_of_it_becomes_data(arena: Arena, editor: User) -> None:
    for one in pairs_of(arena):
        vote(one, arena, editor, for_candidate=1)
    assert build(SnapshotQuery(least_votes=1)).rows == []


def test_a_story_that_failed_costs_its_pair_only(candidate: ModelVersion, admin: User) -> None:
    opened = open_arena(by=admin, candidate=candidate.pk, prompts=4, words=300)
    first = ArenaTake.objects.filter(contestant__arena=opened).order_by("pk").first()
    assert first is not None
    assert first.generation_id is not None
    Generation.objects.filter(pk=first.generation_id).update(state=State.FAILED)
    write_all(opened)
    advance()
    assert pairs_of(opened).count() == 3


def test_people_take_part_on_held_out_prompts(candidate: ModelVersion, admin: User) -> None:
    with pytest.raises(NotNow, match="no texts by people"):
        open_arena(by=admin, candidate=candidate.pk, prompts=4, words=300, people=True)
    made = 0
    for number in range(200):
        brief = brief_of(None, title=f"The Mill {number}", premise="A miller.", target=250)
        take_of(
            brief,
            "\n\n".join(
                f"The mill turned, and the {number}th winter came down over the valley and stayed." for _ in range(18)
            ),
        )
        made += is_held_out(brief.sha256)
    assert made > 0
    opened = open_arena(by=admin, candidate=candidate.pk, prompts=30, words=300, people=True)
    people = ArenaTake.objects.filter(contestant__arena=opened, contestant__version=None)
    assert people.count() == min(made, 30)
    assert all(is_held_out(one.brief.sha256) for one in people)
    write_all(opened)
    advance()
    assert pairs_of(opened).count() == 30 + people.count()


def test_one_at_a_time_and_closed_undecided(arena: Arena, candidate: ModelVersion, admin: User) -> None:
    with pytest.raises(NotNow, match="open already"):
        open_arena(by=admin, candidate=candidate.pk)
    close_arena(by=admin, arena_id=arena.pk)
    count(arena.pk)
    arena.refresh_from_db()
    assert arena.state == ArenaState.CLOSED
    with pytest.raises(NotNow, match="over already"):
        close_arena(by=admin, arena_id=arena.pk)


def test_rules_out_of_bounds(candidate: ModelVersion, model: ModelVersion, admin: User) -> None:
    for change in ({"prompts": 2}, {"confidence": 0.5}, {"share": 0.9}, {"words": 5}):
        with pytest.raises(Refused):
            open_arena(by=admin, candidate=candidate.pk, **change)
    with pytest.raises(NotNow, match="in service itself"):
        open_arena(by=admin, candidate=model.pk)


def test_simulated_voters_and_the_stated_error_rate(
    candidate: ModelVersion, admin: User, make_editor: Callable[[], User]
) -> None:
    """Voters who toss a coin: through the whole house, a candidate is promoted no more often than 1 - confidence, within chance."""
    chance = random.Random(2)
    voter, better = make_editor(), 0
    opened = open_arena(by=admin, candidate=candidate.pk, prompts=10, words=300, confidence=0.9)
    write_all(opened)
    advance()
    for _ in range(60):
        Vote.objects.all().delete()
        Arena.objects.filter(pk=opened.pk).update(state=ArenaState.OPEN, result=None)
        for one in pairs_of(opened).order_by("pk"):
            vote(one, opened, voter, for_candidate=chance.choice((1, -1)))
            count(opened.pk)
        opened.refresh_from_db()
        assert opened.result is not None
        better += opened.result["decision"] == "better"
    assert better <= 13  # of 60; six are stated at most, and 14 would come in one of 500 such tests
