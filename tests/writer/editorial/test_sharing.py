"""A writer's consents, their history, and editors' notes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from tests.cast import TEXTS, write
from tests.writer.editorial.test_acts import marked
from writer.accounts.models import User
from writer.accounts.operations.delete_account import delete_account
from writer.editorial.models import ConsentEvent, Mark, PrincipleVersion, Sharing, Sitting, Take
from writer.editorial.notes import notes_on
from writer.editorial.operations.freeze import open_story
from writer.editorial.operations.share import share
from writer.editorial.reading import offered_stories
from writer.refusals import Missing, NotNow, Refused
from writer.stories.models import Generation, State, Story
from writer.stories.operations.delete_story import delete_story
from writer.stories.operations.save_text import save_text
from writer.stories.reading import story_for, whole

pytestmark = pytest.mark.django_db


def test_three_consents_each_by_itself(owner: User, story: Story, stranger: User) -> None:
    for consent in ("reading", "training", "outside"):
        share(by=owner, story_id=story.pk, consent=consent, given=True)
        share(by=owner, story_id=story.pk, consent=consent, given=True)
    share(by=owner, story_id=story.pk, consent="training", given=False)
    sharing = Sharing.objects.get()
    assert (sharing.reading, sharing.training, sharing.outside) == (True, False, True)
    events = ConsentEvent.objects.values_list("consent", "given")
    assert list(events) == [("reading", True), ("training", True), ("outside", True), ("training", False)]
    with pytest.raises(Missing):
        share(by=stranger, story_id=story.pk, consent="reading", given=True)
    with pytest.raises(Refused):
        share(by=owner, story_id=story.pk, consent="everything", given=True)


def test_editors_see_what_is_offered_and_nothing_else(owner: User, story: Story, editor: User, stranger: User) -> None:
    assert not offered_stories(editor).exists()
    share(by=owner, story_id=story.pk, consent="training", given=True)
    assert not offered_stories(editor).exists(), "that is another consent"
    share(by=owner, story_id=story.pk, consent="reading", given=True)
    assert offered_stories(editor).get() == story
    assert not offered_stories(stranger).exists()
    with pytest.raises(NotNow, match="no text"):
        open_story(by=editor, story_id=story.pk)
    with pytest.raises(Missing):
        story_for(editor, story.pk)


def test_a_story_that_is_being_written_waits(owner: User, generation: Generation, editor: User) -> None:
    share(by=owner, story_id=generation.story_id, consent="reading", given=True)
    write(generation, "The lamp.\n\nWas lit.")
    with pytest.raises(NotNow, match="still writing"):
        open_story(by=editor, story_id=generation.story_id)
    write(generation, state=State.DONE)
    take = open_story(by=editor, story_id=generation.story_id)
    assert take.words_by == {str(generation.model_id): 4}
    assert (take.blocks, take.words, take.model) == (2, 4, None)


def test_opened_twice_it_is_one_take(take: Take, editor: User, admin: User, owner: User, story: Story) -> None:
    assert open_story(by=admin, story_id=story.pk) == take
    assert Sitting.objects.count() == 2
    now = story_for(owner, story.pk)
    assert now.head
    save_text(user=owner, story_id=story.pk, base_revision=now.head.pk, absorbed=0, text="Other.", op_id="2")
    assert open_story(by=editor, story_id=story.pk) != take
    take.refresh_from_db()
    assert take.text == TEXTS[1]


def test_notes_come_back_to_the_writer(take: Take, editor: User, owner: User, story: Story, version: PrincipleVersion) -> None:  # fmt: skip
    marked(editor, take, version, "mementos", note="Which?")
    marked(editor, take, version, "🌊 They", better="They")
    removed = marked(editor, take, version, "sad")
    Mark.objects.filter(pk=removed.subject).update(removed=take.created)
    now = story_for(owner, story.pk)
    assert now.head
    text = "A beginning.\n\n\n" + TEXTS[1].replace("mementos", "some mementoes")
    save_text(user=owner, story_id=story.pk, base_revision=now.head.pk, absorbed=0, text=text, op_id="2")
    notes = notes_on(story, whole(story_for(owner, story.pk)).text)
    assert [(note.mark.quote, note.state) for note in notes] == [("mementos", "uncertain"), ("🌊 They", "certain")]


def test_pages_of_the_writer(
    take: Take, editor: User, owner: User, story: Story, version: PrincipleVersion, sign_in: Callable[..., Client]
) -> None:
    marked(editor, take, version, note="<script>alert(1)</script>")
    client = sign_in(owner)
    page = client.get(f"/stories/{story.pk}/sharing")
    assert page.status_code == 200
    answer = client.post(f"/stories/{story.pk}/sharing", {"consent": "reading", "given": "no"})
    assert answer.status_code == 302
    assert not Sharing.objects.get().reading
    assert client.post(f"/stories/{story.pk}/sharing", {"consent": "all", "given": "yes"}).status_code == 302
    notes = client.get(f"/stories/{story.pk}/notes").content.decode()
    assert "<script>alert(1)" not in notes
    assert "alert(1)" in notes


def test_what_goes_with_the_story_and_what_stays_without_its_editor(
    take: Take, editor: User, owner: User, story: Story, version: PrincipleVersion
) -> None:
    marked(editor, take, version)
    delete_account(user=editor)
    assert Mark.objects.get().by is None
    delete_story(user=owner, story_id=story.pk)
    assert not Mark.objects.exists()
    assert not Take.objects.exists()
    assert not ConsentEvent.objects.exists()
