"""The lineage of versions and of a person's judgements, with snapshots that the site made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from tests.cast import PRINCIPLE, TEXTS
from tests.writer.editorial.test_acts import do, marked
from tests.writer.editorial.test_store_violations import stored
from writer.accounts.models import User
from writer.editorial.models import Pair, PairSource, PrincipleVersion, Reading, Snapshot, Take
from writer.editorial.operations.freeze import brief_of, take_of
from writer.editorial.operations.make_snapshot import ask_snapshot, make_snapshot
from writer.editorial.operations.save_principle import new_principle, save_principle
from writer.editorial.operations.share import share
from writer.editorial.snapshots.query import SnapshotQuery
from writer.stories.models import ModelVersion
from writer.studio.lineage import Learned, learned_by, lineage_of, versions_of_editor, versions_of_principle
from writer.studio.models import Dataset, Run

pytestmark = pytest.mark.django_db
OTHER = PRINCIPLE.model_copy(update={"key": "an-earned-end", "name": "An earned end"})


def new_pair(title: str) -> Pair:
    brief = brief_of(None, title=title, premise="A keeper alone.", target=600)
    first, second = (take_of(brief, f"{title}. {text}") for text in TEXTS)
    return Pair.objects.create(brief=brief, first=first, second=second, source=PairSource.ASKED)


def vote(by: User, pair: Pair, preference: int, *principles: PrincipleVersion) -> None:
    """After both takes were read to the end."""
    read = [[0, 1000]]
    reading = Reading.objects.create(id=uuid4(), pair=pair, editor=by, swapped=False, seen_left=read, seen_right=read)
    do(by, kind="vote", reading=reading.pk, preference=preference, principles=[one.pk for one in principles])


def settle(by: User, pair: Pair) -> None:
    reading = Reading.objects.create(id=uuid4(), pair=pair, editor=by, swapped=False, settling=True)
    do(by, kind="settle", reading=reading.pk, preference=-2, why="overlooked", words="The end is earned.")


def snapshot(by: User, **query: Any) -> Snapshot:
    made = make_snapshot(snapshot_id=ask_snapshot(by=by, query=SnapshotQuery(least_votes=1, **query)).pk)
    assert made is not None
    return made


def learn(base: ModelVersion, by: User, name: str, **data: Snapshot | Dataset) -> ModelVersion:
    version = ModelVersion.objects.create(
        name=name, served_name=name, tokenizer="", parent=base, folder="runs/1", sha256="0" * 64
    )
    Run.objects.create(recipe="dpo", settings={}, base=base, by=by, version=version, **data)
    return version


def learned(version: ModelVersion) -> Learned:
    found = lineage_of(version)[0].learned
    assert found is not None
    return found


@pytest.fixture
def second(make_editor: Callable[[], User]) -> User:
    return make_editor()


@pytest.fixture
def settler(make_editor: Callable[[], User]) -> User:
    return make_editor()


@pytest.fixture
def judged(
    take: Take, owner: User, editor: User, second: User, settler: User, admin: User, version: PrincipleVersion
) -> PrincipleVersion:
    """A pair that two agree on, one that a third settled, and a mended passage, which names the principle in its second version."""
    new_principle(by=editor, record=OTHER, state="in_force")
    lamp, mill = new_pair("The Lamp"), new_pair("The Mill")
    vote(editor, lamp, -2, version)
    vote(second, lamp, -1)
    vote(editor, mill, 2, version)
    vote(second, mill, -2)
    settle(settler, mill)
    record = PRINCIPLE.model_copy(update={"explanation": "Name the thing that is there, and no other."})
    reworded = save_principle(by=editor, record=record, base=1, meaning_changed=False)
    marked(second, take, reworded, better="a tin of buttons")
    assert take.brief.story_id is not None
    share(by=owner, story_id=take.brief.story_id, consent="training", given=True)
    return reworded


@pytest.fixture
def made(model: ModelVersion, judged: PrincipleVersion, admin: User) -> ModelVersion:
    return learn(model, admin, "made", snapshot=snapshot(admin))


def test_what_a_version_learned_from(
    made: ModelVersion, judged: PrincipleVersion, editor: User, second: User, settler: User, version: PrincipleVersion
) -> None:
    found = learned(made)
    assert (found.pairs, found.spans) == (2, 1)
    assert dict(found.editors) == {second: 3, editor: 2, settler: 1}
    assert found.editors[0] == (second, 3), "who said most comes first"
    assert found.principles == [(version, 2), (judged, 1)]


def test_violations_and_who_accepted_them(
    model: ModelVersion, pair: Pair, editor: User, admin: User, version: PrincipleVersion
) -> None:
    accepted, *_ = stored(pair.first, "One.", "Two.", "Three.")
    do(editor, kind="judge_violation", violation=accepted.pk, state="accepted")
    made = learn(model, admin, "made", snapshot=snapshot(admin, violations="not_rejected"))
    found = learned(made)
    assert (found.pairs, found.spans, found.violations) == (0, 0, 3)
    assert found.editors == [(editor, 1)], "what nobody has looked at is not of somebody who has left"
    assert found.principles == [(version, 3)]
    assert list(versions_of_editor(editor.pk)) == [made]
    assert list(versions_of_principle(PRINCIPLE.key)) == [made]


def test_a_version_of_a_version(made: ModelVersion, model: ModelVersion, editor: User, admin: User) -> None:
    vote(editor, new_pair("The Sea"), 1)
    again = learn(made, admin, "made again", snapshot=snapshot(admin, mended=False))
    steps = lineage_of(again)
    assert [step.version for step in steps] == [again, made, model]
    assert [step.learned.pairs if step.learned else None for step in steps] == [3, 2, None]
    assert [step.learned.spans if step.learned else None for step in steps] == [0, 1, None]


def test_what_came_of_an_editor(
    made: ModelVersion, model: ModelVersion, editor: User, second: User, settler: User, owner: User, admin: User
) -> None:
    """By a vote, a mended passage, a settlement; not of somebody who judged nothing, or judged later."""
    vote(admin, new_pair("The Sea"), 1)
    newer = learn(model, admin, "newer", snapshot=snapshot(admin))
    marks_only = learn(model, admin, "marks only", snapshot=snapshot(admin, votes=False))
    assert list(versions_of_editor(editor.pk)) == [made, newer]
    assert list(versions_of_editor(second.pk)) == [made, newer, marks_only]
    assert list(versions_of_editor(settler.pk)) == [made, newer]
    assert list(versions_of_editor(admin.pk)) == [newer]
    assert list(versions_of_editor(owner.pk)) == []


def test_what_came_of_a_principle(made: ModelVersion, model: ModelVersion, admin: User) -> None:
    marks_only = learn(model, admin, "marks only", snapshot=snapshot(admin, votes=False))
    key = PRINCIPLE.key
    assert list(versions_of_principle(key)) == [made, marks_only]
    assert list(versions_of_principle(key, 1)) == [made]
    assert list(versions_of_principle(key, 2)) == [made, marks_only]
    assert list(versions_of_principle(key, 3)) == []
    assert list(versions_of_principle(OTHER.key)) == []
    assert list(versions_of_principle("particular")) == [], "not by a part of its key"


def test_a_data_set_from_elsewhere(judged: PrincipleVersion, model: ModelVersion, editor: User, admin: User) -> None:
    dataset = Dataset.objects.create(name="A corpus", kind="texts", folder="1", sha256="0" * 64)
    version = learn(model, admin, "of a corpus", dataset=dataset)
    found = learned(version)
    assert (found.pairs, found.spans, found.editors, found.principles) == (0, 0, [], [])
    assert list(versions_of_editor(editor.pk)) == []
    assert list(versions_of_principle(PRINCIPLE.key)) == []


def test_a_run_without_a_version_counts_for_nobody(
    judged: PrincipleVersion, model: ModelVersion, editor: User, admin: User
) -> None:
    run = Run.objects.create(recipe="dpo", settings={}, base=model, by=admin, snapshot=snapshot(admin))
    assert list(versions_of_editor(editor.pk)) == []
    assert learned_by(run).pairs == 2


# Pages


def test_the_page_of_a_principle(made: ModelVersion, admin: User, sign_in: Callable[..., Client]) -> None:
    client = sign_in(admin)
    page = client.get(reverse("from_principle", args=[PRINCIPLE.key]))
    groups = [(wording and wording.number, list(versions)) for wording, versions in page.context["groups"]]
    assert groups == [(None, [made]), (2, [made]), (1, [made])]
    assert f'href="{reverse("version", args=[made.pk])}"' in page.content.decode()
    unused = client.get(reverse("from_principle", args=[OTHER.key])).content.decode()
    assert unused.count("None has learned from it.") == 2
    assert client.get(reverse("from_principle", args=["no-such-thing"])).status_code == 404


def test_the_page_of_an_editor(made: ModelVersion, second: User, admin: User, sign_in: Callable[..., Client]) -> None:
    client = sign_in(admin)
    page = client.get(reverse("from_editor", args=[second.pk])).content.decode()
    assert f"What learned from {second.name}" in page
    assert f'href="{reverse("version", args=[made.pk])}"' in page
    assert "None has learned from it." in client.get(reverse("from_editor", args=[admin.pk])).content.decode()
    assert client.get(reverse("from_editor", args=[10**9])).status_code == 404


def test_a_version_names_whom_it_learned_from(
    made: ModelVersion, editor: User, admin: User, sign_in: Callable[..., Client]
) -> None:
    page = sign_in(admin).get(reverse("version", args=[made.pk])).content.decode()
    assert f'<a href="{reverse("from_editor", args=[editor.pk])}">{editor.name}</a> (2)' in page
    assert page.count(f'href="{reverse("from_principle", args=[PRINCIPLE.key])}"') == 2


def test_an_editor_who_has_left(made: ModelVersion, second: User, admin: User, sign_in: Callable[..., Client]) -> None:
    """What they said stays learned, without their name."""
    name, left = second.name, second.pk
    second.delete()
    assert (None, 3) in learned(made).editors
    client = sign_in(admin)
    page = client.get(reverse("version", args=[made.pk])).content.decode()
    assert "Editors: somebody who has left (3)" in page
    assert name not in page
    assert "What learned from somebody who has left" in client.get(reverse("from_editor", args=[left])).content.decode()
    again = learn(made, admin, "made again", snapshot=snapshot(admin))
    assert (None, 3) in learned(again).editors, "in what is put together after they left, too"
    assert list(versions_of_editor(left)) == [made]
