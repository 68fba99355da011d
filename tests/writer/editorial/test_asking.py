"""Pairs that an editor requests, and choices of a writer, which are stored in the same tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from pytest_django import Settings

from tests.cast import write
from writer.accounts.models import User
from writer.editorial.models import Asking, Pair, Vote
from writer.editorial.operations.ask_pair import ask_pairs, collect_askings
from writer.editorial.operations.choose_take import choose_take
from writer.editorial.operations.next_pair import next_pair
from writer.editorial.operations.share import share
from writer.editorial.snapshots.build import build
from writer.editorial.snapshots.query import SnapshotQuery
from writer.refusals import Missing, NotNow, Refused, TooMuch
from writer.stories.models import Generation, ModelVersion, State, Story
from writer.stories.operations.control import stop
from writer.stories.operations.leave import leave
from writer.stories.operations.save_text import save_text
from writer.stories.operations.takes import another_take, keep_take, takes_of
from writer.stories.reading import story_for, story_lines, whole

pytestmark = pytest.mark.django_db


@pytest.fixture
def other(model: ModelVersion) -> ModelVersion:
    return ModelVersion.objects.create(name="Curlew-9B", served_name="curlew", tokenizer="curlew")


def asked(by: User, *versions: ModelVersion, **change: Any) -> list[Asking]:
    ids = (versions[0].pk, versions[1].pk)
    usual: dict[str, Any] = {"title": "T", "premise": "P", "target_words": 300, "versions": ids}
    return ask_pairs(by=by, **(usual | change))


def test_a_pair_when_both_are_finished(editor: User, model: ModelVersion, other: ModelVersion) -> None:
    (asking,) = asked(editor, model, other, overlap=2, priority=7)
    assert asking.first
    assert asking.second
    assert (asking.first.model, asking.second.model) == (model, other)
    assert asking.first.sampling["seed"] != asking.second.sampling["seed"]
    write(asking.first, "The lamp.", state=State.DONE)
    assert next_pair(by=editor) is None
    assert not Pair.objects.exists(), "the one that is finished first is not told from the other"
    write(asking.second, "A light.", state=State.DONE)
    reading = next_pair(by=editor)
    assert reading is not None
    pair = reading.pair
    assert (pair.first.text, pair.first.model, pair.second.model) == ("The lamp.", model, other)
    assert (pair.overlap, pair.priority, pair.first.words_by) == (2, 7, {str(model.pk): 2})
    collect_askings()
    assert Pair.objects.count() == 1


def test_the_pair_stays_when_the_one_who_asked_leaves(editor: User, admin: User, model: ModelVersion) -> None:
    (asking,) = asked(editor, model, model)
    for generation, text in ((asking.first, "The lamp."), (asking.second, "A light.")):
        assert generation
        write(generation, text, state=State.DONE)
    collect_askings()
    leave(user=editor)
    pair = Pair.objects.get()
    assert (pair.first.text, pair.first.model, pair.first.generation) == ("The lamp.", model, None)
    assert not Story.objects.exists()
    assert next_pair(by=admin)


@pytest.mark.parametrize(
    ("texts", "states", "told"),
    [
        (("The lamp.", "A light."), (State.DONE, State.STOPPED), "not finished"),
        (("The lamp.", "A light."), (State.FAILED, State.DONE), "not finished"),
        (("The lamp.", "The lamp."), (State.DONE, State.DONE), "the same text"),
        (("The lamp.", ""), (State.DONE, State.DONE), "empty"),
    ],
)
def test_no_pair_comes_of_it(
    editor: User, model: ModelVersion, texts: tuple[str, str], states: tuple[State, State], told: str
) -> None:
    (asking,) = asked(editor, model, model)
    for generation, text, state in zip((asking.first, asking.second), texts, states):
        assert generation
        write(generation, *([text] if text else []), state=state)
    collect_askings()
    asking.refresh_from_db()
    assert told in asking.failed
    assert not Pair.objects.exists()


def test_nobody_sees_the_stories_behind_it(editor: User, model: ModelVersion, sign_in: Callable[..., Client]) -> None:
    (asking,) = asked(editor, model, model)
    assert asking.first
    assert story_lines(editor) == []
    with pytest.raises(Missing):
        story_for(editor, asking.first.story_id)
    client = sign_in(editor)
    assert client.get(f"/stories/{asking.first.story_id}").status_code == 404
    assert client.get(f"/api/generations/{asking.first.pk}").status_code == 404
    assert client.get("/api/stories").json() == []


def test_limits_of_asking(editor: User, model: ModelVersion, settings: Settings) -> None:
    for change in ({"pairs": 11}, {"overlap": 0}, {"priority": 101}, {"target_words": 5}, {"premise": " "}):
        with pytest.raises(Refused):
            asked(editor, model, model, **change)
    with pytest.raises(Refused, match="Choose a model"):
        ask_pairs(by=editor, title="T", premise="P", target_words=300, versions=(model.pk, 10**9))
    assert not Generation.objects.exists()
    settings.STORIES_AT_ONCE = 1
    asked(editor, model, model, pairs=2)
    settings.WORDS_PER_DAY = 1700
    with pytest.raises(TooMuch, match="200 left"):
        asked(editor, model, model, pairs=1)
    assert Generation.objects.count() == 4, "all of it or nothing"


@pytest.fixture
def two_takes(owner: User, story: Story, generation: Generation) -> tuple[Generation, Generation]:
    write(generation, "The lamp was lit.", state=State.DONE)
    second = another_take(user=owner, story_id=story.pk)
    with pytest.raises(NotNow, match="written already"):
        another_take(user=owner, story_id=story.pk)
    with pytest.raises(NotNow, match="still being written"):
        keep_take(user=owner, story_id=story.pk, generation_id=generation.pk)
    write(second, "There was a light.", state=State.DONE)
    return generation, second


def text_of(owner: User, story: Story) -> str:
    return whole(story_for(owner, story.pk)).text


def test_another_take_and_back(owner: User, story: Story, two_takes: tuple[Generation, Generation]) -> None:
    first, second = two_takes
    assert text_of(owner, story) == "There was a light."
    assert second.target_words == first.target_words
    assert [take.whole.text for take in takes_of(story_for(owner, story.pk))] == [
        "The lamp was lit.",
        "There was a light.",
    ]
    head = story_for(owner, story.pk).head
    assert head
    save_text(
        user=owner, story_id=story.pk, base_revision=head.pk, absorbed=18, text="There was a light. Mine.", op_id="1"
    )
    keep_take(user=owner, story_id=story.pk, generation_id=first.pk)
    assert text_of(owner, story) == "The lamp was lit."
    keep_take(user=owner, story_id=story.pk, generation_id=second.pk)
    assert text_of(owner, story) == "There was a light. Mine.", "what the writer changed in a take is kept with it"


def test_what_a_writer_keeps_is_a_judgement(
    owner: User, story: Story, two_takes: tuple[Generation, Generation]
) -> None:
    first, second = two_takes
    choose_take(by=owner, story_id=story.pk, generation_id=first.pk, over=second.pk)
    pair, vote = Pair.objects.get(), Vote.objects.get()
    assert (pair.source, pair.wanted, vote.source, vote.by, vote.preference) == ("writer", False, "writer", owner, -1)
    assert pair.first.text == "The lamp was lit."
    choose_take(by=owner, story_id=story.pk, generation_id=second.pk, over=first.pk)
    assert [vote.preference for vote in Vote.objects.filter(undone=None)] == [1], "the later choice counts"
    query = SnapshotQuery(votes=False, mended=False, choices=True)
    assert build(query).rows == []
    share(by=owner, story_id=story.pk, consent="training", given=True)
    (row,) = build(query).rows
    assert (row.chosen, row.origin["source"]) == (pair.second_id, "choices")
    assert build(SnapshotQuery(least_votes=1, least_read=0)).rows == []


def test_takes_of_others_and_of_nothing(owner: User, stranger: User, story: Story, model: ModelVersion) -> None:
    with pytest.raises(NotNow, match="Nothing has been written"):
        another_take(user=owner, story_id=story.pk)
    with pytest.raises(Missing):
        another_take(user=stranger, story_id=story.pk)
    with pytest.raises(Missing):
        keep_take(user=owner, story_id=story.pk, generation_id=uuid4())
    assert takes_of(story_for(owner, story.pk)) == []


def test_the_page_of_takes(
    owner: User, story: Story, two_takes: tuple[Generation, Generation], sign_in: Callable[..., Client]
) -> None:
    client = sign_in(owner)
    page = client.get(f"/stories/{story.pk}/takes").content.decode()
    assert "The lamp was lit." in page
    assert "There was a light." in page
    first, second = two_takes
    answer = client.post(f"/stories/{story.pk}/takes", {"keep": str(first.pk), "over": str(second.pk)})
    assert answer.status_code == 302
    assert Vote.objects.get().preference == -1
    assert client.post(f"/stories/{story.pk}/takes", {"keep": "x"}).status_code == 302
    client.post(f"/stories/{story.pk}/takes", {"another": ""})
    third = story_for(owner, story.pk).head
    assert third
    assert third.generation
    stop(user=owner, generation=third.generation)
    assert len(takes_of(story_for(owner, story.pk))) == 3
