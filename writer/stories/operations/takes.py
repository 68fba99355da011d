"""Several takes on the same beginning: requests another one, and chooses one of them.

A take is a generation with its writer's changes: the newest revision on its branch, and the log after it. The head of the story
is on one branch; the others are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db import transaction

from training.common.sampling import Sampling
from writer.accounts.models import User
from writer.refusals import Missing, NotNow
from writer.stories.checks import checked_premise, checked_target, checked_title
from writer.stories.models import Generation, ModelVersion, Revision, Story
from writer.stories.operations.deploy import in_service
from writer.stories.operations.locking import lock_person, lock_story
from writer.stories.operations.start_generation import begin, check_limits
from writer.stories.reading import Whole, log_text
from writer.stories.wake import call_readers


@dataclass(frozen=True)
class Take:
    generation: Generation
    whole: Whole
    is_head: bool


def takes_of(story: Story) -> list[Take]:
    """The takes with the same beginning as the newest one, oldest first; none before the first generation."""
    assert story.head is not None
    if story.head.generation is None:
        return []
    base = story.head.generation.base
    generations = story.generations.filter(base__text=base.text).select_related("base", "model").order_by("created")
    found = []
    for generation in generations:
        tip = Revision.objects.filter(story=story, generation=generation).order_by("-created").first()
        assert tip is not None
        now = Whole(tip, generation, log_text(generation))
        found.append(Take(generation, now, is_head=story.head.generation_id == generation.pk))
    return found


def another_take(*, user: User, story_id: UUID) -> Generation:
    """Request another take with the beginning of the newest one."""
    with transaction.atomic():
        lock_person(user)
        story = lock_story(user, story_id)
        assert story.head is not None
        previous = story.head.generation
        if previous is None:
            raise NotNow("Nothing has been written yet. Ask the model for a first take.")
        if story.generations.live().exists():
            raise NotNow("This story is being written already. Stop it first, or wait until it is finished.")
        base, target = previous.base, previous.target_words
        check_limits(user, target - previous.base_words)
        generation = begin(
            story=story,
            user=user,
            model=in_service(),
            target=target,
            parent=base.parent,
            text=base.text,
            origins=base.origins,
            sampling=Sampling(**story.sampling),
        )
        transaction.on_commit(lambda: call_readers(previous.pk))
    return generation


def keep_take(*, user: User, story_id: UUID, generation_id: UUID) -> Take:
    """Make this take the text of the story."""
    with transaction.atomic():
        story = lock_story(user, story_id)
        if story.generations.live().exists():
            raise NotNow("A take is still being written. Wait for it, or stop it.")
        chosen = next((take for take in takes_of(story) if take.generation.pk == generation_id), None)
        if chosen is None:
            raise Missing
        story.head = chosen.whole.head
        story.save(update_fields=["head", "updated"])
        transaction.on_commit(lambda: call_readers(generation_id))
    return chosen


def blind_take(
    *, user: User, title: str, premise: str, target_words: int, model: ModelVersion, sampling: Sampling
) -> Generation:
    """Have a model version write a story that no page shows, for blind judgement."""
    title, premise, target = checked_title(title), checked_premise(premise), checked_target(target_words)
    with transaction.atomic():
        lock_person(user)
        check_limits(user, target, blind=True)
        story = Story.objects.create(owner=user, title=title, premise=premise, target_words=target, blind=True)
        return begin(
            story=story, user=user, model=model, target=target, parent=None, text="", origins=[], sampling=sampling
        )
