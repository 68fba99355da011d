from __future__ import annotations

import uuid

from django.db import transaction

from training.common.sampling import Sampling
from writer.accounts.models import User
from writer.stories.checks import (
    checked_key,
    checked_premise,
    checked_sampling,
    checked_story,
    checked_target,
    checked_title,
)
from writer.stories.models import Revision, Story
from writer.stories.operations.start_generation import start_generation
from writer.stories.text import attribute

_STORIES = uuid.UUID("6f1f3a52-8f0e-4a57-9d0b-1d1f3f6f2c11")


def create_story(
    *,
    owner: User,
    title: str,
    premise: str,
    target_words: int,
    text: str = "",
    start: bool = False,
    temperature: float | None = None,
    min_p: float | None = None,
    idempotency_key: str | None = None,
) -> Story:
    """Make a story with the text that the writer already has; with `start`, also start writing it.

    It is atomic: if the story cannot be started, it is not made, and the input is still in the form. A second request with the
    same key returns the story that the first one made.
    """
    title, premise, target_words = checked_title(title), checked_premise(premise), checked_target(target_words)
    text = checked_story(text)
    with transaction.atomic():
        story = Story(owner=owner, title=title, premise=premise, target_words=target_words)
        _sample(story, temperature=temperature, min_p=min_p)
        if idempotency_key is not None:
            story.pk = uuid.uuid5(_STORIES, f"{owner.pk} {checked_key(idempotency_key, 'idempotency_key')}")
            User.objects.select_for_update(no_key=True).get(pk=owner.pk)
            before = Story.objects.for_user(owner).filter(pk=story.pk).first()
            if before is not None:
                return before
        story.save(force_insert=True)
        story.head = Revision.objects.create(
            story=story, text=text, origins=attribute("", [], text, owner.pk), author=owner
        )
        story.save(update_fields=["head"])
        if start:
            start_generation(user=owner, story_id=story.pk)
    return story


def change_story(
    *,
    story: Story,
    title: str | None = None,
    premise: str | None = None,
    target_words: int | None = None,
    temperature: float | None = None,
    min_p: float | None = None,
) -> Story:
    """Change title, premise, target or sampling of a story. A generation that has begun keeps its target and its sampling."""
    if title is not None:
        story.title = checked_title(title)
    if premise is not None:
        story.premise = checked_premise(premise)
    if target_words is not None:
        story.target_words = checked_target(target_words)
    _sample(story, temperature=temperature, min_p=min_p)
    story.save(update_fields=["title", "premise", "target_words", "sampling", "updated"])
    return story


def _sample(story: Story, **chosen: float | None) -> None:
    story.sampling = story.sampling | {name: value for name, value in chosen.items() if value is not None}
    checked_sampling(Sampling(**story.sampling))
