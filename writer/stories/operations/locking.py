"""Locks on stories and generations until the end of the transaction."""

from __future__ import annotations

from uuid import UUID

from writer.accounts.models import User
from writer.refusals import Missing
from writer.stories.models import Generation, Story


def lock_person(user: User) -> None:
    """Lock a person. Limits apply to all stories of a person, so two requests must not count at the same time."""
    User.objects.select_for_update(no_key=True).values_list("pk").get(pk=user.pk)


def lock_story(user: User, story_id: UUID) -> Story:
    found = Story.objects.for_user(user).select_for_update().filter(pk=story_id).first()
    if found is None:
        raise Missing
    return found


def lock_generation(generation_id: UUID) -> Generation:
    return Generation.objects.select_for_update(of=("self",)).select_related("model").get(pk=generation_id)
